"""A checkpoint of the user's own becomes an expert: recognised, kept in the store, described by a card there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imaging.atomic import atomic_write
from toolbox.card import ExpertCard
from toolbox.catalogue import catalogue_of, default_catalogue
from toolbox.errors import BadCard, DuplicateExpert, WeightsError
from toolbox.expert import Expert, load_expert
from toolbox.graph import scale_of
from toolbox.store import ModelStore, sha256_of
from toolbox.tasks import Task

NETWORK_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx")
EXPORT = "export it where you trust it: torch.onnx.export(program, args, 'it.onnx', dynamo=True), and add that"
SCALES = (2, 4)
HOW_TO_RUN = {"extra", "value_range", "tile", "halo", "multiple_of"}
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CustomModel:
    """What the user says of a file of weights."""

    file: Path
    name: str
    task: Task
    licence: str = UNKNOWN
    commercial: str = "ask"
    preference: str = "any"


def add_custom_model(model: CustomModel, store: ModelStore, check: Callable[[Expert], None]) -> ExpertCard:
    """Copy the file into the store, find out what it is, load it, let `check` try it, and write its card.

    A file that lies in the store's folder already is left where it is. Where anything fails, nothing is left behind.
    Raises `WeightsError`, `BadCard`, `DuplicateExpert`, and what `check` raises.
    """
    if not model.file.is_file():
        raise WeightsError(f"{model.file} is no file", "name a file of weights")
    if model.file.suffix == ".pt2":
        raise WeightsError(f"{model.file.name} is a program of torch.export, which is loaded by running code", EXPORT)
    if not model.file.name.endswith(NETWORK_SUFFIXES):
        raise WeightsError(f"{model.file.name} ends with none of {', '.join(NETWORK_SUFFIXES)}")
    if any(card.name == model.name for card in catalogue_of(store)):
        raise DuplicateExpert(f"there is an expert {model.name!r} already", "choose another --name")
    table = _table(model)
    _card(model.name, table)  # so that a bad name is told before anything is copied
    if model.file.suffix != ".onnx":
        table |= _network_facts(model)
    stored, ours = _kept(model, store)
    try:
        table["file"] = {"name": stored.name, "size": stored.stat().st_size, "sha256": sha256_of(stored)}
        if model.file.suffix == ".onnx":
            table["scale"] = _fitting(model, scale_of(_card(model.name, table), store))
        card = _card(model.name, table)
        check(load_expert(card, store))
        _write(card.name, table, store)
    except BaseException:
        if ours:
            stored.unlink()
        raise
    return card


def remove_custom_card(name: str, store: ModelStore) -> None:
    """Forget an expert of the user's own; its file is left."""
    store.custom_card(name).unlink(missing_ok=True)


def _table(model: CustomModel) -> dict[str, Any]:
    return {
        "task": model.task.value,
        "scale": 2 if model.task is Task.SUPER_RESOLUTION else 1,
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
        return ExpertCard(name=name, **table)
    except ValidationError as error:
        message = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise BadCard(f"expert {name!r}: {message}", "names are small letters, digits, and . _ - between") from error


def _kept(model: CustomModel, store: ModelStore) -> tuple[Path, bool]:
    """Where the file lies in the store, and whether it was copied there."""
    if model.file.resolve().parent == store.folder.resolve():
        return model.file.resolve(), False
    target = store.path(f"{model.name}{model.file.suffix}")
    if target.exists():
        raise WeightsError(f"{target} is there already", "choose another --name, or delete it")
    store.folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as temporary:
        shutil.copyfile(model.file, temporary)
    return target, True


def _network_facts(model: CustomModel) -> dict[str, Any]:
    """Architecture and scale of a file of weights, and how a published network of its kind is run."""
    from toolbox.network import recognised

    descriptor = recognised(model.file)
    kind = descriptor.architecture.id
    facts: dict[str, Any] = {"architecture": kind, "scale": _fitting(model, descriptor.scale)}
    alike = [card for card in default_catalogue() if card.file and card.architecture == kind]
    alike.sort(key=lambda card: card.task is not model.task)
    return facts | (alike[0].model_dump(include=HOW_TO_RUN) if alike else {})


def _fitting(model: CustomModel, scale: int) -> int:
    """The scale, where it fits the task."""
    enlarges = model.task is Task.SUPER_RESOLUTION
    if enlarges and scale not in SCALES:
        raise WeightsError(f"{model.file.name} enlarges {scale}x, and plans are made of 2x and 4x")
    if not enlarges and scale != 1:
        raise WeightsError(
            f"{model.file.name} enlarges {scale}x", f"add it with --task {Task.SUPER_RESOLUTION.value}"
        )
    return scale


def _write(name: str, table: dict[str, Any], store: ModelStore) -> None:
    """As TOML, whose plain strings, numbers and arrays are written as in JSON."""
    file = table.pop("file")
    lines = [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    lines += ["", f"[{name}.file]", *(f"{key} = {_toml(value)}" for key, value in file.items())]
    path = store.custom_card(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
