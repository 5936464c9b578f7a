"""Published metrics through pyiqa and open_clip, if these and the weights are installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from imaging.device import best_device
from imaging.image import Image
from imaging.resizing import fitted, resize
from iqa.errors import MetricMissing
from iqa.parameters import read_toml, reading
from toolbox.errors import WeightsError
from toolbox.pool import ModelPool
from toolbox.store import ModelStore, WeightFile

if TYPE_CHECKING:
    from torch import Tensor, nn


MOST_SIDE = 1024
"""Larger images are reduced to this long side: MANIQA and BRISQUE take minutes at 4096."""
LEAST_SIDE = 224
"""Smaller images are enlarged: MANIQA takes crops of this size."""
HPS_SIDE = 224
EXTRA = "pip install 'restore4k[metrics]'"
CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class PublishedMetric(BaseModel):
    """One published metric: a table of published.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: str
    range: tuple[float, float]
    higher_is_better: bool = True
    licence: str
    architecture: str = ""
    file: WeightFile

    @property
    def non_commercial(self) -> bool:
        """Whether its licence forbids commercial use."""
        return "noncommercial" in self.licence.lower()

    @property
    def library(self) -> Literal["pyiqa", "open_clip"]:
        """The library that computes it."""
        return "open_clip" if self.architecture else "pyiqa"


@dataclass(frozen=True, slots=True)
class LoadedMetric:
    """A metric in memory."""

    score: Callable[[Tensor, str], Tensor]
    """(b, 3, h, w) RGB in [0, 1] and a description to (b,)."""
    weight_bytes: int


@cache
def published_metrics() -> Mapping[str, PublishedMetric]:
    """All published metrics by name, whether they are installed or not. Raises `BadParameters`."""
    with reading("published.toml"):
        tables = read_toml("published.toml")
        return MappingProxyType({name: PublishedMetric(name=name, **table) for name, table in tables.items()})


def missing_for(metric: PublishedMetric, store: ModelStore) -> str:
    """What a metric lacks and how to install it; empty if library and weights are installed. Loads neither."""
    if find_spec(metric.library) is None:
        return f"needs {metric.library}: {EXTRA} ({metric.licence})"
    return "" if store.has(metric.file.name) else f"needs {metric.file.name}: restore4k models pull {metric.name}"


def chosen(reflection: str, non_commercial: bool, store: ModelStore) -> tuple[str, ...]:
    """The installed metrics of a reflection mode of 4KAgent: HPSv2, and with another mode than "hpsv2" also MUSIQ,
    MANIQA and CLIPIQA.

    Metrics whose licence forbids commercial use are left out unless `non_commercial`.
    """
    wanted = ("hpsv2",) if reflection == "hpsv2" else ("hpsv2", "musiq", "maniqa", "clipiqa")
    metrics = [published_metrics()[name] for name in wanted]
    return tuple(
        metric.name
        for metric in metrics
        if (non_commercial or not metric.non_commercial) and not missing_for(metric, store)
    )


def measure_published(
    names: Sequence[str], image: Image, pool: ModelPool, store: ModelStore, description: str = ""
) -> dict[str, float]:
    """The values of some metrics of an image, by name.

    `description`: the text for HPSv2. Raises `MetricMissing` for a metric that is unknown or not installed.
    """
    import torch

    values = dict[str, float]()
    for name in names:
        metric = published_metrics().get(name)
        if metric is None:
            raise MetricMissing(f"unknown metric {name!r}", f"choose among {', '.join(published_metrics())}")
        if advice := missing_for(metric, store):
            raise MetricMissing(f"{name} is not installed", advice)
        loaded = pool.hold(f"metric {name}", partial(_load, metric, store.path(metric.file.name)))
        with torch.inference_mode():
            values[name] = float(loaded.score(_fitting(image)[None].to(best_device()), description))
    return values


def _fitting(image: Image) -> Tensor:
    """(3, h, w) with sides in [224, 1024] where its aspect ratio allows that."""
    height, width = image.height, image.width
    if image.long_side > MOST_SIDE:
        height, width = fitted(height, width, MOST_SIDE)
    grow = max(1.0, LEAST_SIDE / min(height, width))
    height, width = round(height * grow), round(width * grow)
    return resize(image.pixels, height, width).clamp(0, 1)


def _load(metric: PublishedMetric, file: Path) -> LoadedMetric:
    _require_harmless(file)
    try:
        network, score = (_open_clip if metric.library == "open_clip" else _pyiqa)(metric, file)
    except (RuntimeError, KeyError, ValueError, TypeError, OSError, AttributeError) as error:
        raise WeightsError(f"{metric.name}: {file} cannot be loaded: {error}", _again(file)) from error
    size = sum(parameter.nbytes for parameter in network.parameters())
    return LoadedMetric(score, size)


def _require_harmless(file: Path) -> None:
    """Read the file with torch's restricted unpickler first: pyiqa would unpickle arbitrary objects."""
    import torch

    try:
        with file.open("rb") as stream:
            torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:
        if "TorchScript" in str(error):
            return
        raise WeightsError(f"{file} is not a file of weights: {error}".split("\n", 1)[0], _again(file)) from error


def _again(file: Path) -> str:
    return f"restore4k models remove {file.name}, then pull it again"


def _pyiqa(metric: PublishedMetric, file: Path) -> tuple[nn.Module, Callable[[Tensor, str], Tensor]]:
    import importlib
    import io

    module_name, class_name, arguments = _CONSTRUCTORS[metric.name]
    given = {name: str(file) if value is FILE else value for name, value in arguments.items()}
    with redirect_stdout(io.StringIO()), pkg_resources_provided():  # pyiqa prints the files that it loads
        module = importlib.import_module(f"pyiqa.archs.{module_name}")
        if metric.name == "maniqa":  # It always requests a trained backbone; the file includes the backbone.
            module.timm = SimpleNamespace(create_model=_untrained)  # type: ignore[attr-defined]
        network = getattr(module, class_name)(**given)
    network = network.eval().requires_grad_(False).to(best_device())
    return network, lambda batch, _: network(batch)


@contextmanager
def pkg_resources_provided() -> Iterator[None]:
    """Provide the module `pkg_resources`, which openai-clip imports and setuptools no longer contains."""
    import packaging
    import packaging.version

    name = "pkg_resources"
    if name in sys.modules or find_spec(name):
        yield
        return
    sys.modules[name] = ModuleType(name)
    sys.modules[name].packaging = packaging  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del sys.modules[name]


def _open_clip(metric: PublishedMetric, file: Path) -> tuple[nn.Module, Callable[[Tensor, str], Tensor]]:
    import open_clip
    import torch

    state = torch.load(file, map_location="cpu", weights_only=True)
    network: Any = open_clip.create_model(metric.architecture, pretrained=None)
    network.load_state_dict(state.get("state_dict", state))
    network = network.eval().requires_grad_(False).to(best_device())
    tokenize = open_clip.get_tokenizer(metric.architecture)

    def score(batch: Tensor, description: str) -> Tensor:
        words = network.encode_text(tokenize([description]).to(batch.device), normalize=True)
        looks = network.encode_image(torch.stack([_squared(one) for one in batch]), normalize=True)
        return (looks @ words.T)[:, 0]  # type: ignore[no-any-return]

    return network, score


def _squared(pixels: Tensor) -> Tensor:
    """(3, 224, 224): the longer side resized to 224, padded with black, normalised for CLIP, as in HPSv2."""
    import torch

    small = resize(pixels, *fitted(pixels.shape[1], pixels.shape[2], HPS_SIDE)).clamp(0, 1)
    square = pixels.new_zeros(3, HPS_SIDE, HPS_SIDE)
    top, left = (HPS_SIDE - small.shape[1]) // 2, (HPS_SIDE - small.shape[2]) // 2
    square[:, top : top + small.shape[1], left : left + small.shape[2]] = small
    mean, deviation = (
        torch.tensor(values, device=pixels.device)[:, None, None] for values in (CLIP_MEAN, CLIP_DEVIATION)
    )
    return (square - mean) / deviation


FILE = object()
"""Placeholder for the path of the weights."""


def _untrained(*arguments: Any, **options: Any) -> Any:
    """timm.create_model without a download."""
    import timm

    return timm.create_model(*arguments, **{**options, "pretrained": False})


_CONSTRUCTORS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "musiq": ("musiq_arch", "MUSIQ", {"pretrained_model_path": FILE}),
    "maniqa": ("maniqa_arch", "MANIQA", {"pretrained_model_path": FILE, "train_dataset": "koniq", "scale": 0.8}),
    "topiq_nr": (
        "topiq_arch",
        "CFANet",
        {"pretrained_model_path": FILE, "backbone_pretrain": False, "use_ref": False},
    ),
    "brisque": ("brisque_arch", "BRISQUE", {"pretrained_model_path": FILE}),
    "clipiqa": ("clipiqa_arch", "CLIPIQA", {"backbone": FILE}),
}
"""Module in pyiqa.archs, class, and arguments that avoid downloads."""
