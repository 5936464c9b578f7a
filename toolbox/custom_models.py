"""Custom models: recognise a weight file of the user, copy it into the store and write its card."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from imaging.atomic import atomic_write, rename_new
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from toolbox.card import ExpertCard, OnnxCard, SpandrelCard, TiledCard, ValueRange, read_card
from toolbox.catalogue import catalogue_of, default_catalogue
from toolbox.errors import BadCard, DuplicateExpert, WeightsError
from toolbox.expert import Expert, load_expert
from toolbox.graph import scale_of
from toolbox.ncnn_weights import param_and_bin
from toolbox.store import ModelStore, sha256_of
from toolbox.tasks import Task

NETWORK_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx", ".param")
LOADERS = {".onnx": "onnx", ".param": "ncnn"}
"""Loaders of files that are not checkpoints."""
EXPORT = "if you trust it, export it to ONNX (docs/experts.md tells how), and add that file"
SCALES = (2, 4)
"""The scales that plans use."""
RESIZED_TO = 4
"""Scale of experts whose network has a scale that is not in `SCALES`, for example 3."""
PROBE_SIDE = 64
NEAR_DB, CLEARLY_BETTER_DB = 20.0, 6.0
"""[0, 255] is chosen if its result's PSNR to the input exceeds the first, and that of [0, 1] by the second."""
RUN_KEYS = {"extra", "value_range", "tile", "halo", "multiple_of", "memory"}
"""Keys that a custom model copies from the card of a published network with the same architecture."""
UNKNOWN = "unknown"
COPIES, DAY = ".adding-", 24 * 3600.0


@dataclass(frozen=True, slots=True)
class CustomModel:
    """A weight file and what the user states about it."""

    file: Path
    name: str
    task: Task
    licence: str = UNKNOWN
    commercial: str = "ask"
    preference: str = "any"
    value_range: ValueRange | None = None
    """Range of the network's input and output; None: determined by a test."""


Examine: TypeAlias = Callable[[CustomModel, dict[str, Any], ModelStore], dict[str, Any]]
"""As `examine`, without `check`."""


def add_custom_model(model: CustomModel, store: ModelStore, examination: Examine) -> ExpertCard:
    """Copy the file, have the copy examined, move it into the store, and write its card.

    A file that is already in the store's folder stays where it is. If a step fails, nothing is left behind.
    Raises `WeightsError`, `BadCard`, `DuplicateExpert`, and errors of `examination`.
    """
    _check_file(model.file)
    if any(card.name == model.name for card in catalogue_of(store)):
        raise DuplicateExpert(f"there is an expert {model.name!r} already", "choose another --name")
    table = _table(model)
    _card(model.name, table)  # rejects a bad name before anything is copied
    sources = _files_of(model.file)
    names = _names_of(model, sources)
    is_there = model.file.resolve().parent == store.folder.resolve()
    if not is_there and (existing := [name for name in names if store.path(name).exists()]):
        raise WeightsError(f"{store.path(existing[0])} exists already", "choose another --name, or delete the file")
    store.folder.mkdir(parents=True, exist_ok=True)
    for left in store.folder.glob(f"{COPIES}*"):  # by a process that was killed
        if time.time() - left.stat().st_mtime > DAY:
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=store.folder, prefix=COPIES) as folder:
        copies = ModelStore(Path(folder))
        for source, name in zip(sources, names, strict=True):
            copies.path(name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, copies.path(name))
        table["file"] = _described(names[0], copies)
        if table["loader"] == "onnx" and len(names) > 1:
            table["data"] = _described(names[1], copies)
        table |= examination(model, table, copies)
        if is_there:
            names = [source.name for source in sources]
            table["file"]["name"] = names[0]
        card = _card(model.name, table)
        placed = [] if is_there else names
        try:
            for name in placed:
                store.path(name).parent.mkdir(exist_ok=True)
                rename_new(copies.path(name), store.path(name))
            for name in names[1:]:
                store.remember(name, sha256=sha256_of(store.path(name)))
            _write(card.name, table, store)
        except BaseException:
            for name in placed:
                store.remove(name)
            raise
    return card


def examine(
    model: CustomModel, table: dict[str, Any], store: ModelStore, check: Callable[[Expert], None]
) -> dict[str, Any]:
    """The card keys that follow from the model file, found by loading and running it; `check` gets the expert.

    `table`: the other keys; `store`: the folder with its files. Raises `WeightsError`, `BadCard`, and errors of
    `check`. Call it in a process with limits, because the file is not trusted.
    """
    if table["loader"] == "onnx":
        draft = OnnxCard.model_validate({"name": model.name, **table})
        keys: dict[str, Any] = _scale_keys(model, scale_of(draft, store))
    else:
        keys = _network_keys(model)
    card = _card(model.name, table | keys)
    if isinstance(card, SpandrelCard | OnnxCard):
        keys["value_range"] = model.value_range or _probed_range(card, store)
        card = _card(model.name, table | keys)
    check(load_expert(card, store))
    return keys


def remove_custom_card(name: str, store: ModelStore) -> None:
    """Delete the card of a custom model; its weight file stays."""
    store.custom_card(name).unlink(missing_ok=True)


def remove_unreadable(name: str, store: ModelStore) -> bool:
    """Delete the card of that name and its weight files, if the card is one that the catalogue skips."""
    card = store.custom_card(name)
    if card not in store.custom_cards() or any(known.name == name for known in catalogue_of(store)):
        return False
    for file in [file for file in store.files() if file.name.removesuffix(file.suffix) == name]:
        store.remove(file.name)
    card.unlink()
    return True


def _check_file(file: Path) -> None:
    if not os.path.isfile(file):  # Path.is_file raises for names that are too long
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
        "loader": LOADERS.get(model.file.suffix, "spandrel"),
        "about": _unicode(f"Your own: {model.file.name}."),
        "source": "your own",
        "licence": _unicode(model.licence) or UNKNOWN,
        "commercial": model.commercial,
        "file": {"name": f"{model.name}{model.file.suffix}"},
    }


def _unicode(text: str) -> str:
    """The text with bytes that are not UTF-8 as escapes; TOML holds only Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def _card(name: str, table: dict[str, Any]) -> ExpertCard:
    try:
        return read_card(name, table)
    except BadCard as error:
        raise BadCard(error.message, "names consist of lowercase letters, digits, and . _ - inside") from error


def _files_of(file: Path) -> list[Path]:
    """The file and the one that belongs to it: the .bin of a .param, the external weights of a graph."""
    if file.suffix == ".param":
        return list(param_and_bin(file))
    data = file.with_name(f"{file.name}.data")  # the name that torch.onnx.export gives it
    return [file, data] if file.suffix == ".onnx" and data.is_file() else [file]


def _names_of(model: CustomModel, sources: list[Path]) -> list[str]:
    """The names of the model's files in a store.

    A graph whose weights lie in a file of their own gets a folder, because it refers to that file by name.
    """
    if model.file.suffix == ".onnx" and len(sources) > 1:
        return [f"{model.name}/{file.name}" for file in sources]
    return [f"{model.name}{file.suffix}" for file in sources]


def _described(name: str, store: ModelStore) -> dict[str, Any]:
    return {"name": name, "size": store.path(name).stat().st_size, "sha256": sha256_of(store.path(name))}


def _network_keys(model: CustomModel) -> dict[str, Any]:
    """Architecture and scale of the network, and the run keys of a published network of that architecture."""
    from toolbox.network import recognised

    descriptor = recognised(model.file)
    architecture = descriptor.architecture.id
    keys: dict[str, Any] = {"architecture": architecture, **_scale_keys(model, descriptor.scale)}
    published = [card for card in default_catalogue() if isinstance(card, SpandrelCard) and card.file]
    similar = [card for card in published if card.architecture == architecture]
    similar.sort(key=lambda card: card.task is not model.task)
    return keys | (similar[0].model_dump(include=RUN_KEYS) if similar else {})


def _scale_keys(model: CustomModel, scale: int) -> dict[str, int]:
    """The scale of the expert, and that of its network if plans do not use it.

    Raises `WeightsError` if `scale` does not fit the task.
    """
    upscales = model.task is Task.SUPER_RESOLUTION
    if upscales and scale < 2:
        raise WeightsError(f"{model.file.name} has scale {scale}x, but super-resolution needs 2x or more")
    if not upscales and scale != 1:
        raise WeightsError(
            f"{model.file.name} has scale {scale}x", f"add it with --task {Task.SUPER_RESOLUTION.value}"
        )
    if not upscales or scale in SCALES:
        return {"scale": scale}
    return {"scale": RESIZED_TO, "network_scale": scale}


def _probed_range(card: SpandrelCard | OnnxCard, store: ModelStore) -> ValueRange:
    """The value range of a network: [0, 1], unless only [0, 255] gives a result close to the input.

    This cannot distinguish [-1, 1] from [0, 1]; that range comes from the user, or from the card of a published
    network of the same architecture.
    """
    if card.value_range != "unit" or card.task.spec.is_global:
        return card.value_range
    unit, byte = (
        _nearness_db(card.model_copy(update={"value_range": value_range}), store) for value_range in ("unit", "byte")
    )
    return "byte" if byte > max(NEAR_DB, unit + CLEARLY_BETTER_DB) else "unit"


def _nearness_db(card: TiledCard, store: ModelStore) -> float:
    """PSNR between a smooth picture and the expert's result for it."""
    import torch

    coarse = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    side = -(-PROBE_SIDE // card.multiple_of) * card.multiple_of
    picture = Image(resize(coarse, side, side).clamp(0, 1))
    result = load_expert(card, store)(picture, ProgressToken()).pixels
    error = (resize(result, side, side) - picture.pixels).square().mean()
    return float(-10 * torch.log10(error + 1e-8))


def _write(name: str, table: dict[str, Any], store: ModelStore) -> None:
    import tomli_w

    path = store.custom_card(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(tomli_w.dumps({name: table}), "utf-8")
