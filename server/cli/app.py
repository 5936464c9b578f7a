"""The command line. Heavy libraries are imported inside the commands, so that --help answers at once."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agent.errors import RunError
from imaging.device import keep_buffers
from imaging.errors import Cancelled, OutputError
from imaging.progress import ProgressToken
from server.cli.batch_command import batch
from server.cli.console import BAD_REQUEST, SIGNALLED, Answer, stopped_by_signals
from server.cli.models_commands import app as models_app
from server.cli.options import (
    ImageArgument,
    JsonOption,
    LongSideOption,
    MemoryOption,
    NonCommercialOption,
    OverwriteOption,
    ProfileOption,
    QuietOption,
    ReasonerOption,
    RunsOption,
    ScaleOption,
)
from server.settings import ServerSettings, default_allowed, default_output, default_runs
from toolbox.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from agent.events import Listener
    from agent.run import Restoration

app = typer.Typer(
    name="restore4k",
    help="Restores any photo, up to 4K: measures, plans, runs several experts per step, keeps the best.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(models_app, name="models")
app.command()(batch)


@app.command()
def restore(
    image: ImageArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The result, or its folder; otherwise NAME_restored.png beside the photo."
        ),
    ] = None,
    profile: ProfileOption = "default",
    scale: ScaleOption = None,
    long_side: LongSideOption = None,
    reasoner: ReasonerOption = None,
    max_seconds: Annotated[
        float | None,
        typer.Option("--max-seconds", help="Start no further step after N seconds and return the best result."),
    ] = None,
    max_runs: Annotated[
        int | None, typer.Option("--max-runs", help="Stop after N expert runs and return the best result.")
    ] = None,
    non_commercial: NonCommercialOption = False,
    overwrite: OverwriteOption = False,
    runs: RunsOption = None,
    memory: MemoryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Restore a photo, up to 4K."""
    with Answer(as_json) as answer:
        from agent.run import restore_file
        from server.profile_options import choose_profile

        wanted = choose_profile(
            profile,
            scale=scale,
            long_side=long_side,
            reasoner=reasoner,
            max_seconds=max_seconds,
            max_expert_runs=max_runs,
            non_commercial=non_commercial,
        )
        folder = (runs or default_runs()).absolute()

        def work(token: ProgressToken, listener: Listener) -> Restoration:
            return restore_file(
                image,
                _output_of(image, output),
                wanted,
                runs=folder,
                overwrite=overwrite,
                token=token,
                listener=listener,
            )

        _run(answer, work, folder, quiet)


@app.command()
def resume(
    run: Annotated[str, typer.Argument(help="The run folder, or its name in the folder of run folders.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Another file for the result than the one first asked for.")
    ] = None,
    overwrite: OverwriteOption = False,
    runs: RunsOption = None,
    memory: MemoryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Go on with a run that was killed or cancelled, or whose result could not be written."""
    with Answer(as_json) as answer:
        from agent.run import resume_run

        folder = (runs or default_runs()).absolute()
        path = Path(run) if os.sep in run or Path(run).is_dir() else folder / run

        def work(token: ProgressToken, listener: Listener) -> Restoration:
            return resume_run(path.absolute(), output=output, overwrite=overwrite, token=token, listener=listener)

        _run(answer, work, path.absolute().parent, quiet)


@app.command()
def analyze(image: ImageArgument, reasoner: ReasonerOption = None, as_json: JsonOption = False) -> None:
    """Say what is wrong with a photo."""
    with Answer(as_json) as answer:
        from imaging.alpha import bleed_alpha
        from imaging.reading import read_image
        from server.cli.tables import show_diagnosis
        from server.planning import perceive_with_warnings
        from server.profile_options import choose_profile
        from server.schemas import DegradationReport, Diagnosis
        from toolbox.pool import ExpertPool

        wanted = choose_profile("default", reasoner=reasoner)
        perception, warnings = perceive_with_warnings(
            bleed_alpha(read_image(image)), wanted, ExpertPool(), ProgressToken()
        )
        report = DegradationReport(image=None, diagnosis=Diagnosis.of(perception), warnings=warnings)
        answer.write(report.model_dump(mode="json"), lambda console: show_diagnosis(console, report))


@app.command()
def quality(image: ImageArgument, as_json: JsonOption = False) -> None:
    """Measure how good a photo looks, by every metric that is installed."""
    with Answer(as_json) as answer:
        from imaging.alpha import bleed_alpha
        from imaging.reading import read_image
        from server.cli.tables import show_quality
        from server.quality_report import quality_report
        from toolbox.pool import ExpertPool

        report = quality_report(bleed_alpha(read_image(image)), None, ExpertPool())
        answer.write(report.model_dump(mode="json"), lambda console: show_quality(console, report))


@app.command()
def plan(
    image: ImageArgument,
    profile: ProfileOption = "default",
    scale: ScaleOption = None,
    long_side: LongSideOption = None,
    reasoner: ReasonerOption = None,
    non_commercial: NonCommercialOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what would be done with a photo."""
    with Answer(as_json) as answer:
        from imaging.alpha import bleed_alpha
        from imaging.reading import read_image
        from server.cli.tables import show_plan
        from server.planning import plan_report
        from server.profile_options import choose_profile
        from toolbox.pool import ExpertPool

        wanted = choose_profile(
            profile, scale=scale, long_side=long_side, reasoner=reasoner, non_commercial=non_commercial
        )
        report = plan_report(bleed_alpha(read_image(image)), wanted, ExpertPool(), None, ProgressToken())
        answer.write(report.model_dump(mode="json"), lambda console: show_plan(console, report))


@app.command()
def experts(
    task: Annotated[Task | None, typer.Option("--task", help="Only the experts for this task.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the experts, those that can run here and those that cannot yet."""
    with Answer(as_json) as answer:
        from server.cli.tables import show_experts
        from server.expert_report import ExpertReport
        from toolbox.catalogue import catalogue_of
        from toolbox.store import ModelStore

        store = ModelStore()
        cards = [card for card in catalogue_of(store) if task in (None, card.task)]
        reports = [ExpertReport.of(card, store) for card in cards]
        both = zip(cards, reports, strict=True)
        document = {"experts": [card.model_dump(mode="json") | one.model_dump(mode="json") for card, one in both]}
        answer.write(document, lambda console: show_experts(console, reports))


@app.command()
def profiles(
    name: Annotated[str | None, typer.Argument(help="Show all that this profile (or .toml file) sets.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the profiles, or show one."""
    with Answer(as_json) as answer:
        from profiles.loading import load_profile, predefined_profiles
        from server.cli.tables import show_profile, show_profiles

        if name is not None:
            profile = load_profile(name)
            answer.write(profile.model_dump(mode="json"), lambda console: show_profile(console, profile))
            return
        listed = list(predefined_profiles().values())
        document = {"profiles": [profile.model_dump(mode="json") for profile in listed]}
        answer.write(document, lambda console: show_profiles(console, listed))


@app.command()
def serve(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders that images may be read from; the same as --allow.")
    ] = None,
    transport: Annotated[
        Literal["stdio", "streamable-http"], typer.Option(help="stdio: the client starts this process.")
    ] = "stdio",
    host: Annotated[
        str, typer.Option(help="For streamable-http; without --clients or --oauth only this machine's own names.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="For streamable-http; the URL ends in /mcp.")] = 8000,
    allow: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that images may be read from; may be repeated. Otherwise the current folder."),
    ] = None,
    client_roots: Annotated[
        bool,
        typer.Option(
            "--client-roots", help="For stdio: also read from the folders that the client has open (roots)."
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder for results. Otherwise restore4k in the user's pictures folder.")
    ] = None,
    runs: RunsOption = None,
    clients: Annotated[
        Path | None,
        typer.Option(help="For streamable-http: TOML file of clients with tokens and folders (docs/serving.md)."),
    ] = None,
    oauth: Annotated[
        Path | None,
        typer.Option(help="The same with tokens of an OAuth authorization server: TOML file (docs/serving.md)."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="For streamable-http: HOST[:PORT] by which clients know it; may be repeated."),
    ] = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch images from public https addresses.")
    ] = False,
    max_seconds: Annotated[float, typer.Option(min=1, help="The longest that one call is worked on.")] = 3600,
    max_megapixels: Annotated[float, typer.Option(min=1, max=178, help="Of one image that is read.")] = 100,
    workspace_gb: Annotated[float, typer.Option(min=0.1, help="What each client's workspace may hold.")] = 8,
    workspace_days: Annotated[float, typer.Option(min=1, help="So long an image is kept unused.")] = 30,
    memory: MemoryOption = None,
) -> None:
    """Serve MCP clients."""
    with Answer(as_json=False):
        from server.auth.oauth import callers_of
        from server.mcp.app import serve as serve_clients

        named = [folder.expanduser().absolute() for folder in (*(folders or ()), *(allow or ()))]
        results = (output or default_output()).expanduser().absolute()
        _require_folders(named, results)
        unnamed = () if client_roots else default_allowed()
        settings = ServerSettings(
            allowed=tuple(named) or unnamed,
            output=results,
            runs=(runs or default_runs()).absolute(),
            urls=allow_urls,
            client_roots=client_roots,
            max_seconds=max_seconds,
            max_pixels=round(max_megapixels * 1e6),
            workspace_bytes=round(workspace_gb * (1 << 30)),
            workspace_days=workspace_days,
        )
        serve_clients(settings, transport, host, port, callers_of(clients, oauth), name or ())


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check this machine, and say what to do where something is wrong."""
    with Answer(as_json) as answer:
        from server.cli.doctor import examine
        from server.cli.tables import show_checks

        checks = examine()
        healthy = all(check.state != "problem" for check in checks)
        document = {"healthy": healthy, "checks": [check.model_dump() for check in checks]}
        answer.write(document, lambda console: show_checks(console, checks))
        if not healthy:
            raise typer.Exit(1)


def main() -> None:
    """The console script."""
    keep_buffers()
    app()


def _output_of(image: Path, output: Path | None) -> Path:
    name = f"{image.stem}_restored.png"
    if output is None:
        return image.with_name(name)
    return output / name if output.is_dir() else output


def _require_folders(named: list[Path], results: Path) -> None:
    """Raise `RequestError` for a folder to read from that is none; one that holds the results is made with them."""
    from server.errors import RequestError

    for folder in named:
        if not folder.is_dir() and not results.is_relative_to(folder):
            raise RequestError(f"there is no folder {folder} to read from", "make it, or name another")


def _run(answer: Answer, work: Callable[[ProgressToken, Listener], Restoration], runs: Path, quiet: bool) -> None:
    """Run to the end, or to a signal; then say how to go on."""
    from server.cli.progress_view import ProgressView
    from server.cli.tables import show_restoration

    token = ProgressToken()
    with stopped_by_signals(token) as received, ProgressView(quiet=quiet) as view:
        try:
            restoration = work(token, view)
        except (Cancelled, OutputError, RunError) as error:
            command = shlex.join(["restore4k", "resume", str(runs / view.run)])
            again = f"go on with: {command}" if view.run else "nothing was begun"
            hint = "; ".join(filter(None, (error.hint, again)))
            code = SIGNALLED + received() if isinstance(error, Cancelled) else BAD_REQUEST
            raise answer.fail(type(error).__name__, error.message, hint, code, run=view.run) from None
    summary = restoration.summary()

    def show(console: Console) -> None:
        show_restoration(console, summary)

    answer.write(summary.model_dump(mode="json"), show)
