"""`restore4k models`: list, download, check and remove models and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from imaging.errors import Cancelled
from imaging.progress import ProgressToken
from server.cli.console import SIGNALLED, Answer, PlainConsole, answered, stopped_by_signals
from server.cli.tables import table_of
from toolbox.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from server.cli.downloads import Download
    from server.cli.trial import Trial
    from toolbox.card import ExpertCard

app = typer.Typer(help="Download, check and remove models and metrics, and add custom ones.", no_args_is_help=True)
Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Names of experts, metrics or files; `starter`: the few small ones with the most effect on photos, "
        "`metrics`: all metrics, `faces`: all face models, `all`: everything."
    ),
]


@app.command("list")
@answered
def list_models(answer: Answer) -> None:
    """List all downloads with licence and state."""
    from server.cli.downloads import downloads
    from toolbox.store import ModelStore

    found = downloads(ModelStore())
    document = {"models": [download.model_dump(mode="json") for download in found]}
    answer.write(document, lambda console: _show(console, found))


@app.command()
@answered
def pull(
    answer: Answer,
    names: Names = None,
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="Everything that this profile can use.")
    ] = None,
    non_commercial: Annotated[
        bool, typer.Option("--non-commercial", help="With --profile: include what forbids commercial use.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept the licences that restrict use, once for all.")
    ] = False,
) -> None:
    """Download models. An interrupted download is resumed."""
    from server.cli.downloads import (
        choose_to_pull,
        downloads_for_profile,
        require_accepted,
        size_in_words,
    )
    from server.cli.progress_view import bar
    from toolbox.downloading import pull as pull_file
    from toolbox.starter import STARTER
    from toolbox.store import ModelStore

    store = ModelStore()
    chosen = downloads_for_profile(store, profile, non_commercial) if profile else choose_to_pull(store, names or [])
    require_accepted(store, chosen, accept)
    if STARTER in (names or []) and answer.can_ask:
        _show_starter(chosen)
        files = [file for download in chosen for file in download.files]
        typer.confirm(f"Download {size_in_words(files)}?", abort=True, err=True)
    pulled = []
    for file, name in {file: download.name for download in chosen for file in download.files + download.base}.items():
        with bar(f"{name}: {file.name} ({size_in_words([file])})") as report:
            pulled.append(str(pull_file(file, store, ProgressToken(report))))
    answer.write({"files": pulled}, lambda console: console.print("\n".join(pulled) or "nothing to pull"))


@app.command()
@answered
def add(
    answer: Answer,
    file: Annotated[
        Path,
        typer.Argument(help="Weights (.pth, .pt, .ckpt, .safetensors, or .param with its .bin) or a graph (.onnx)."),
    ],
    task: Annotated[Task, typer.Option("--task", help="Task of the expert.")],
    name: Annotated[str, typer.Option("--name", help="Name of the expert.")],
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the weights. Default: ask.")] = None,
    commercial: Annotated[
        Literal["yes", "no", "ask"], typer.Option("--commercial", help="Whether the licence allows commercial use.")
    ] = "ask",
    preference: Annotated[
        Literal["fidelity", "perception", "any"], typer.Option("--preference", help="Profiles that use it.")
    ] = "any",
    value_range: Annotated[
        Literal["unit", "symmetric", "byte"] | None,
        typer.Option("--value-range", help="Pixels from 0 to 1, -1 to 1, or 0 to 255. Default: test it."),
    ] = None,
) -> None:
    """Add a custom model: detect its architecture, test it on a photo and register it as an expert."""
    from server.cli.trial_process import examine_in_process
    from toolbox.custom_models import UNKNOWN, CustomModel, add_custom_model
    from toolbox.store import ModelStore

    if licence is None and answer.can_ask:
        licence = typer.prompt("Licence of these weights", default=UNKNOWN, err=True)
    model = CustomModel(file, name, task, licence or UNKNOWN, commercial, preference, value_range)
    token, trials = ProgressToken(), list["Trial"]()

    def examination(model: CustomModel, table: dict[str, Any], store: ModelStore) -> dict[str, Any]:
        keys, trial = examine_in_process(model, table, store, token)
        trials.append(trial)
        return keys

    with stopped_by_signals(token) as received:
        try:
            card = add_custom_model(model, ModelStore(), examination)
        except Cancelled:
            code = SIGNALLED + received()
            raise answer.fail("Cancelled", "cancelled", "nothing was added", code) from None
    document = {"expert": card.model_dump(mode="json"), "trial": trials[0].model_dump(mode="json")}
    answer.write(document, lambda console: _show_added(console, card, trials[0]))


@app.command()
@answered
def verify(answer: Answer, names: Names = None) -> None:
    """Check downloaded files against their sha256."""
    from server.cli.downloads import choose
    from toolbox.store import ModelStore

    store = ModelStore()
    chosen = choose(store, names or ["all"])
    files = dict.fromkeys(file for download in chosen for file in download.files + download.base)
    found = {file.name: store.verify(file) for file in files if names or store.has(file.name)}
    lines = "\n".join(f"ok {name}" for name in found) or f"{store.folder} holds none of them"
    answer.write({"sha256": found}, lambda console: console.print(lines))


@app.command()
@answered
def remove(answer: Answer, names: Names = None) -> None:
    """Delete downloaded files and custom models."""
    from server.cli.downloads import choose
    from toolbox.custom_models import remove_custom_card, remove_unreadable
    from toolbox.store import ModelStore

    store = ModelStore()
    unreadable = [name for name in names or [] if remove_unreadable(name, store)]
    others = [name for name in names or [] if name not in unreadable]
    chosen = choose(store, others) if others or not unreadable else []
    freed = sum(store.remove(file.name) for download in chosen for file in download.files)
    for download in chosen:
        remove_custom_card(download.name, store)
    answer.write({"freed_bytes": freed}, lambda console: console.print(f"{freed / 1e6:.1f} MB freed"))


@app.command()
@answered
def path(answer: Answer) -> None:
    """Print the folder of downloaded files."""
    from toolbox.store import ModelStore

    folder = str(ModelStore().folder)
    answer.write({"path": folder}, lambda console: console.print(folder))


def _show(console: Console, found: Sequence[Download]) -> None:
    names = (download.name for download in found)
    table = table_of(names, "name", "for", "size", "licence", "commercial use", "state")
    for download in found:
        table.add_row(
            download.name, download.purpose, download.megabytes, download.licence, download.commercial, download.state
        )
    console.print(table)


def _show_starter(chosen: Sequence[Download]) -> None:
    """The starter set on stderr, before the question whether to download it."""
    from toolbox.starter import STARTER_SET

    table = table_of([download.name for download in chosen], "name", "for", "size", "licence", "what it gains")
    for download in chosen:
        gain = STARTER_SET.get(download.name, "")
        table.add_row(download.name, download.purpose, download.megabytes, download.licence, gain)
    PlainConsole().print(table)


def _show_added(console: Console, card: ExpertCard, trial: Trial) -> None:
    from toolbox.card import SpandrelCard

    scale = f" {card.scale}x" if card.scale > 1 else ""
    kind = card.architecture if isinstance(card, SpandrelCard) else card.loader
    console.print(f"{card.name}: {kind}, {card.task.value}{scale}, licence {card.licences}")
    console.print(
        f"tested on {trial.megapixels:.2f} MP: {trial.seconds:.2f} s, {trial.psnr:.1f} dB to the clean photo, "
        f"consistency {trial.consistency:.2f}"
    )
    for warning in trial.warnings:
        console.print(f"warning: {warning}")
