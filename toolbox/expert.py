"""An expert at work: the one interface of classical functions and networks, and how a card becomes one."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from imaging.convert import FloatArray, as_array, from_numpy, to_numpy
from imaging.errors import Cancelled, ResourceError
from imaging.image import Image
from imaging.pixels import drop_pages, empty, row_chunks
from imaging.progress import ProgressToken
from imaging.resizing import resize
from imaging.tiling import run_tiled
from toolbox.card import ExpertCard
from toolbox.errors import BadCard, ExpertError, WeightsError
from toolbox.store import ModelStore

if TYPE_CHECKING:
    from torch import Tensor

ClassicalFunction = Callable[[FloatArray, ProgressToken], FloatArray]
REDUCED_PIXELS = 4_000_000
"""Above this, experts with extent = "reduced" work on a picture of that size."""


class Expert(Protocol):
    """Something that restores an image. Use `run_expert`, which holds it to its promises."""

    @property
    def card(self) -> ExpertCard:
        """What it promises."""
        ...

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        """The restored image, `card.scale` times as large."""
        ...


@dataclass(frozen=True, slots=True)
class ClassicalExpert:
    """An expert that is a function on arrays. How it is run says the `extent` of its card."""

    card: ExpertCard
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
    filtered: Callable[[FloatArray], FloatArray], pixels: Tensor, card: ExpertCard, token: ProgressToken
) -> Tensor:
    import torch

    def run(tiles: Tensor) -> Tensor:
        return torch.stack([from_numpy(filtered(to_numpy(tile))) for tile in tiles])

    drop_pages(pixels)  # what the function has measured of it
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

    card: ExpertCard
    preprocessor: Expert
    network: Expert

    @property
    def weight_bytes(self) -> int:
        """Of the network, for the pool."""
        return int(getattr(self.network, "weight_bytes", 0))

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        """Run one after the other; the network is skipped where the preprocessor changed nothing."""
        preprocessed = self.preprocessor(image, token.part(0.0, 0.5))
        return (
            preprocessed
            if preprocessed.pixels.equal(image.pixels)
            else self.network(preprocessed, token.part(0.5, 1.0))
        )


def load_expert(card: ExpertCard, store: ModelStore | None = None) -> Expert:
    """The expert of a card, ready to run; heavy libraries are imported here, not before.

    `store`: where downloaded weights lie; otherwise the user's models folder. Raises `WeightsError`, `BadCard`.
    """
    if card.loader == "none":
        raise WeightsError(
            f"expert {card.name} cannot run here: {card.why}", f"instead: {', '.join(card.alternatives)}"
        )
    if card.loader == "spandrel":
        from toolbox.network import load_network

        network = load_network(card, store or ModelStore())
        if card.preprocessor is None:
            return network
        from toolbox.catalogue import default_catalogue

        return PreprocessedExpert(card, load_expert(default_catalogue().card(card.preprocessor)), network)
    if card.loader == "onnx":
        from toolbox.graph import load_graph

        return load_graph(card, store or ModelStore())
    if card.loader == "diffusion":
        from toolbox.diffusion import load_diffusion

        return load_diffusion(card, store or ModelStore())
    return ClassicalExpert(card, _function(card))


def without_tta(expert: Expert) -> Expert:
    """The same expert, as quick as it goes: its network looks from one side, whatever its card says."""
    from toolbox.network import NetworkExpert

    if isinstance(expert, PreprocessedExpert):
        return replace(expert, network=without_tta(expert.network))
    if isinstance(expert, NetworkExpert):
        return replace(expert, card=expert.card.model_copy(update={"self_ensemble": 1}))
    return expert


def run_expert(expert: Expert, image: Image, token: ProgressToken) -> Image:
    """Run an expert and check what it promised: finite pixels, exactly `scale` times the size.

    Raises `ExpertError` whatever went wrong inside it, so that one bad expert is an event and not the end of a
    run; `Cancelled` and `ResourceError` pass.
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
            f"expert {card.name} made {result.width}x{result.height} of {image.width}x{image.height}, "
            f"which is not {card.scale} times as large"
        )
    # A sum takes half the time of looking at every pixel.
    if not all(bool(result.pixels[:, rows].sum().isfinite()) for rows in row_chunks(result.pixels)):
        raise ExpertError(f"expert {card.name} made pixels that are not numbers")
    return result


def _function(card: ExpertCard) -> Any:
    module, _, name = (card.function or "").partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadCard(f"card {card.name!r} names the function {card.function!r}, which is not there") from error
