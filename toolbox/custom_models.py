"""Custom models: recognise a weight file of the user, copy it into the store and write its card."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imaging.atomic import atomic_write
from toolbox.card import ExpertCard, OnnxCard, SpandrelCard, read_card
from toolbox.catalogue import catalogue_of, default_catalogue
from toolbox.errors import BadCard, DuplicateExpert, WeightsError
from toolbox.expert import Expert, load_expert
from toolbox.graph import scale_of
from toolbox.store import ModelStore, sha256_of
from toolbox.tasks import Task

NETWORK_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx")
EXPORT = "if you trust it, export it: torch.onnx.export(program, args, 'it.onnx', dynamo=True), and add that file"
SCALES = (2, 4)
"""The scales that plans use."""
RUN_KEYS = {"extra", "value_range", "tile", "halo", "multiple_of"}
"""Keys that a custom model copies from the card of a published network with the same architecture."""
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CustomModel:
    """A weight file and what the user states about it."""

    file: Path
    name: str
    task: Task
    licence: str = UNKNOWN
    commercial: str = "ask"
    preference: str = "any"


def add_custom_model(model: CustomModel, store: ModelStore, check: Callable[[Expert], None]) -> ExpertCard:
    """Recognise the file, copy it into the store, load the expert, pass it to `check`, and write its card.

    A file that is already in the store's folder stays where it is. If a step fails, nothing is left behind.
    Raises `WeightsError`, `BadCard`, `DuplicateExpert`, and what `check` raises.
    """
    _check_file(model.file)
    if any(card.name == model.name for card in catalogue_of(store)):
        raise DuplicateExpert(f"there is an expert {model.name!r} already", "choose another --name")
    table = _table(model)
    _card(model.name, table)  # rejects a bad name before anything is copied
    if model.file.suffix != ".onnx":
        table |= _network_keys(model)
    stored, copied = _into_store(model, store)
    try:
        table["file"] = {"name": stored.name, "size": stored.stat().st_size, "sha256": sha256_of(stored)}
        draft = _card(model.name, table)
        if isinstance(draft, OnnxCard):
            table["scale"] = _checked_scale(model, scale_of(draft, store))
        card = _card(model.name, table)
        check(load_expert(card, store))
        _write(card.name, table, store)
    except BaseException:
        if copied:
            stored.unlink()
        raise
    return card


def remove_custom_card(name: str, store: ModelStore) -> None:
    """Delete the card of a custom model; its weight file stays."""
    store.custom_card(name).unlink(missing_ok=True)


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise WeightsError(f"{file} is not a file", "give the path of a weight file")
    if file.suffix == ".pt2":
        raise WeightsError(f"{file.name} is a torch.export program, and loading it would run its code", EXPORT)
    if not file.name.endswith(NETWORK_SUFFIXES):
        raise WeightsError(f"{file.name} ends with none of {', '.join(NETWORK_SUFFIXES)}")


def _table(model: CustomModel) -> dict[str, Any]:
    return {
        "task": model.task.value,
        "scale": model.task.spec.scales[0],
        "preference": model.preference,
        "loader": "onnx" if model.file.suffix == ".onnx" else "spandrel",
        "about": f"Your own: {model.file.name}.",
        "source": "your own",
        "licence": model.licence or UNKNOWN,
        "commercial": model.commercial,
        "file": {"name": f"{model.name}{model.file.suffix}"},
    }


def _card(name: str, table: dict[str, Any]) -> ExpertCard:
    try:
        return read_card(name, table)
    except BadCard as error:
        raise BadCard(error.message, "names consist of lowercase letters, digits, and . _ - inside") from error


def _into_store(model: CustomModel, store: ModelStore) -> tuple[Path, bool]:
    """The path of the file in the store, and whether it was copied there."""
    if model.file.resolve().parent == store.folder.resolve():
        return model.file.resolve(), False
    target = store.path(f"{model.name}{model.file.suffix}")
    if target.exists():
        raise WeightsError(f"{target} exists already", "choose another --name, or delete the file")
    store.folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as temporary:
        shutil.copyfile(model.file, temporary)
    return target, True


def _network_keys(model: CustomModel) -> dict[str, Any]:
    """Architecture and scale of the network, and the run keys of a published network of that architecture."""
    from toolbox.network import recognised

    descriptor = recognised(model.file)
    architecture = descriptor.architecture.id
    keys: dict[str, Any] = {"architecture": architecture, "scale": _checked_scale(model, descriptor.scale)}
    published = [card for card in default_catalogue() if isinstance(card, SpandrelCard) and card.file]
    similar = [card for card in published if card.architecture == architecture]
    similar.sort(key=lambda card: card.task is not model.task)
    return keys | (similar[0].model_dump(include=RUN_KEYS) if similar else {})


def _checked_scale(model: CustomModel, scale: int) -> int:
    """The scale. Raises `WeightsError` if it does not fit the task."""
    upscales = model.task is Task.SUPER_RESOLUTION
    if upscales and scale not in SCALES:
        raise WeightsError(f"{model.file.name} has scale {scale}x, but plans use only 2x and 4x")
    if not upscales and scale != 1:
        raise WeightsError(
            f"{model.file.name} has scale {scale}x", f"add it with --task {Task.SUPER_RESOLUTION.value}"
        )
    return scale


def _write(name: str, table: dict[str, Any], store: ModelStore) -> None:
    import tomli_w

    path = store.custom_card(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(tomli_w.dumps({name: table}), "utf-8")
