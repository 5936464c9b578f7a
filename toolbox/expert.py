"""The interface of all experts, classical experts, and the loading of an expert from its card."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from imaging.colour import is_grey, without_colour
from imaging.convert import FloatArray, as_array, from_numpy, to_numpy
from imaging.errors import Cancelled, ResourceError
from imaging.image import Image
from imaging.pixels import drop_pages, empty, row_chunks
from imaging.progress import ProgressToken
from imaging.resizing import resize
from imaging.tiling import run_tiled
from toolbox.availability import availability
from toolbox.card import ClassicalCard, DiffusionCard, ExpertCard, OnnxCard, SpandrelCard
from toolbox.errors import BadCard, ExpertError, WeightsError
from toolbox.store import ModelStore
from toolbox.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

ClassicalFunction = Callable[[FloatArray, ProgressToken], FloatArray]
REDUCED_PIXELS = 4_000_000
"""Larger images are reduced to this size for experts with extent = "reduced"."""


class Expert(Protocol):
    """Restores an image. Call it through `run_expert`, which checks the result."""

    @property
    def card(self) -> ExpertCard:
        """The expert's card."""
        ...

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        """The restored image, `card.scale` times as large."""
        ...


@dataclass(frozen=True, slots=True)
class ClassicalExpert:
    """A function on arrays, run as the `extent` of its card says."""

    card: ClassicalCard
    function: Any

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        """Run the function on the image's pixels."""
        token.report(0.0)
        pixels, card = image.pixels, self.card
        if card.extent == "local":
            return image.with_pixels(_in_tiles(self.function(as_array(pixels), token), pixels, card, token))
        if card.extent == "reduced" and image.width * image.height > REDUCED_PIXELS:
            return image.with_pixels(_by_reduced(self.function, pixels, token))
        return image.with_pixels(from_numpy(self.function(to_numpy(pixels), token)))


def _in_tiles(
    filtered: Callable[[FloatArray], FloatArray], pixels: Tensor, card: ClassicalCard, token: ProgressToken
) -> Tensor:
    import torch

    def run(tiles: Tensor) -> Tensor:
        return torch.stack([from_numpy(filtered(to_numpy(tile))) for tile in tiles])

    drop_pages(pixels)  # the function has read all of them
    tile = card.tile + 2 * card.halo
    return run_tiled(
        run, pixels, scale=card.scale, tile=tile, halo=card.halo, multiple_of=card.multiple_of, token=token
    )


def _by_reduced(function: ClassicalFunction, pixels: Tensor, token: ProgressToken) -> Tensor:
    from toolbox.classical.guided_upsampling import guided_upsampling

    height, width = pixels.shape[1:]
    scale = math.sqrt(REDUCED_PIXELS / (height * width))
    small = to_numpy(resize(pixels, max(1, round(height * scale)), max(1, round(width * scale))))
    apply = guided_upsampling(small, function(small, token.part(0.0, 0.5)))
    result = empty(tuple(pixels.shape))
    for rows in row_chunks(pixels, result):
        token.report(0.5 + 0.5 * rows.start / height)
        result[:, rows] = from_numpy(apply(to_numpy(pixels[:, rows]), rows, height))
    return result


@dataclass(frozen=True, slots=True)
class PreprocessedExpert:
    """A network that takes the output of a classical expert as input."""

    card: SpandrelCard
    preprocessor: Expert
    network: Expert

    @property
    def weight_bytes(self) -> int:
        """Bytes of the network's weights."""
        return int(getattr(self.network, "weight_bytes", 0))

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        """Run the preprocessor, then the network; skip the network if the preprocessor changed nothing."""
        preprocessed = self.preprocessor(image, token.part(0.0, 0.5))
        return (
            preprocessed
            if preprocessed.pixels.equal(image.pixels)
            else self.network(preprocessed, token.part(0.5, 1.0))
        )


def load_expert(card: ExpertCard, store: ModelStore | None = None, token: ProgressToken | None = None) -> Expert:
    """The expert of a card, ready to run. Imports its libraries.

    `store`: holds downloaded weights, whose checksums are verified at first use; by default the user's models folder.
    Raises `WeightsError`, `BadCard`, and `Cancelled` during the test run of a graph.
    """
    store = store or ModelStore()
    for file in card.checked_files:
        store.check_once(file)
    match card:
        case ClassicalCard():
            return ClassicalExpert(card, _function(card))
        case SpandrelCard():
            return _load_network(card, store)
        case OnnxCard():
            from toolbox.graph import load_graph

            return load_graph(card, store, token)
        case DiffusionCard():
            from toolbox.diffusion import load_diffusion

            return load_diffusion(card, store)
    state = availability(card, store)
    raise WeightsError(f"expert {card.name} cannot run here: {state.advice}")


def _load_network(card: SpandrelCard, store: ModelStore) -> Expert:
    from toolbox.network import load_network

    network = load_network(card, store)
    if card.preprocessor is None:
        return network
    from toolbox.catalogue import default_catalogue

    return PreprocessedExpert(card, load_expert(default_catalogue().card(card.preprocessor)), network)


def _function(card: ClassicalCard) -> Any:
    module, _, name = card.function.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadCard(f"card {card.name!r}: the function {card.function!r} does not exist") from error


def without_tta(expert: Expert) -> Expert:
    """The same expert without self-ensemble: its network runs once, whatever its card says."""
    from toolbox.network import NetworkExpert

    if isinstance(expert, PreprocessedExpert):
        return replace(expert, network=without_tta(expert.network))
    if isinstance(expert, NetworkExpert):
        return replace(expert, card=expert.card.without_tta())
    return expert


def run_expert(expert: Expert, image: Image, token: ProgressToken) -> Image:
    """Run an expert and check its result: finite pixels, exactly `scale` times the size. Grey stays grey.

    Raises `ExpertError` for any failure of the expert, so that a run can continue without it, except `Cancelled` and
    `ResourceError`, which propagate.
    """
    card = expert.card
    try:
        result = expert(image, token)
    except (Cancelled, ResourceError):
        raise
    except Exception as error:
        raise ExpertError(f"expert {card.name} failed on {image.width}x{image.height}: {error}") from error
    if (result.width, result.height) != (image.width * card.scale, image.height * card.scale):
        raise ExpertError(
            f"expert {card.name} returned {result.width}x{result.height} for {image.width}x{image.height}, "
            f"which is not {card.scale} times as large"
        )
    # Summing takes half the time of isfinite() on every pixel.
    if not all(bool(result.pixels[:, rows].sum().isfinite()) for rows in row_chunks(result.pixels)):
        raise ExpertError(f"expert {card.name} returned pixels that are not finite")
    if card.task is not Task.OLD_PHOTO_RESTORATION and is_grey(image.pixels) and not is_grey(result.pixels):
        return result.with_pixels(without_colour(result.pixels), clamp=False)  # only old-photo experts may add colour
    return result
