"""Experts whose network is loaded by spandrel and run tile by tile."""

from __future__ import annotations

import contextlib
import math
import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imaging.device import best_device, bfloat16_is_fast, bfloat16_where_fast, device_memory, keep_buffers
from imaging.errors import ResourceError
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.tiling import run_tiled
from imaging.transfer import to_device
from toolbox.availability import availability
from toolbox.card import SpandrelCard
from toolbox.checkpoint import read_state_dict
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.mixed_precision import mixed_precision
from toolbox.store import ModelStore

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

WEIGHTS = Path(__file__).parent / "weights"
FLIPS: tuple[tuple[int, ...], ...] = ((), (-2, -1), (-1,), (-2,))
"""Axes along which the image is flipped before the network, and the result after it, in the order in which they are
used. The image is never transposed, because rain falls from above.
"""
SELF_ENSEMBLE_PIXELS = 1024 * 1024
"""Maximum pixels of all flips together, so that a large image costs a single pass."""
LARGER_ON_GPU = 4
"""Factor of the tile side on a GPU, where halos then cost less and 4096x4096 pixels are one tile."""
BYTES_PER_PIXEL = 2048
"""Maximum memory of our networks per pixel of a tile."""
PLAIN_LAYOUT = frozenset({"GFPGAN"})
"""Architectures whose code fails on channels_last tensors, which are faster for all others."""


@dataclass(frozen=True, slots=True)
class NetworkExpert:
    """A network on its device, with spandrel's descriptor of it."""

    card: SpandrelCard
    descriptor: Any
    device: torch.device
    weight_bytes: int = field(default=0)
    mixed_precision: Callable[[Tensor], Tensor] | None = None
    """The network in bfloat16 with the image in float32, used instead of autocast; None where there is none."""

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        """Run the network; outputs for a small image are averaged over flips (self-ensemble, Timofte et al. 2016)."""
        import torch

        flips = _flips(image, self.card)

        def run(tile: Tensor) -> Tensor:
            # Always a copy: some published networks (RCAN) write into their input.
            tile = to_device(tile, self.device).contiguous(memory_format=_layout(self.descriptor))
            if len(flips) == 1:
                return self._run(tile)
            return torch.stack([self._run(tile.flip(flip)).float().flip(flip) for flip in flips]).mean(0)

        with torch.inference_mode():
            pixels = run_tiled(
                run,
                image.pixels,
                scale=self.card.scale,
                tile=self._tile() + 2 * self.card.halo,
                halo=self.card.halo,
                multiple_of=math.lcm(self.card.multiple_of, int(self.descriptor.size_requirements.multiple_of or 1)),
                token=token,
            )
        return image.with_pixels(pixels, clamp=False)

    def _tile(self) -> int:
        """Side of a tile without halo: the card's on a CPU, a larger one on a GPU with enough memory.

        Published networks keep their card's tile, because their memory use has not been measured.
        """
        if self.device.type != "cuda" or self.mixed_precision is None:
            return self.card.tile
        fitting = math.isqrt(device_memory() // 2 // BYTES_PER_PIXEL)
        return max(self.card.tile, min(LARGER_ON_GPU * self.card.tile, fitting))

    def _run(self, tile: Tensor) -> Tensor:
        if self.mixed_precision is not None:
            return self.mixed_precision(tile)
        with self._precision():
            if self.card.value_range == "unit" and not self.card.options:
                result: Tensor = self.descriptor(tile)
                return result
            return self._run_directly(tile)

    def _run_directly(self, tile: Tensor) -> Tensor:
        """Call the network directly: spandrel's descriptor neither converts [-1, 1] nor passes options."""
        symmetric = self.card.value_range == "symmetric"
        options = {name: tile.new_full((len(tile), 1), value) for name, value in self.card.options.items()}
        result = self.descriptor.model(tile * 2 - 1 if symmetric else tile, **options)
        pixels: Tensor = (result[0] if isinstance(result, tuple | list) else result).float()
        return (pixels / 2 + 0.5 if symmetric else pixels).clamp(0, 1)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast for networks without `mixed_precision`; many published ones fail with bfloat16 weights."""
        if self.card.dtype == "bfloat16":
            return bfloat16_where_fast(self.device)
        return contextlib.nullcontext()


def _flips(image: Image, card: SpandrelCard) -> tuple[tuple[int, ...], ...]:
    """The flips of the self-ensemble: as many as the card says and `SELF_ENSEMBLE_PIXELS` allows."""
    affordable = [flips for flips in (2, 4) if flips * image.width * image.height <= SELF_ENSEMBLE_PIXELS]
    return FLIPS[: min(card.self_ensemble, max(affordable, default=1))]


def load_network(card: SpandrelCard, store: ModelStore, embedded: Path = WEIGHTS) -> NetworkExpert:
    """The network of a card, from the embedded weights or from the store.

    Raises `WeightsMissing` if the file is missing, and `WeightsError` if it does not match the card.
    """
    file = _file_of(card, store, embedded)
    descriptor = recognised(file)
    found = descriptor.architecture.id
    if found != (card.architecture or found):
        raise WeightsError(f"expert {card.name}: {file.name} is a {found}, not a {card.architecture}")
    if descriptor.scale != card.scale:
        raise WeightsError(f"expert {card.name}: {file.name} has scale {descriptor.scale}x, not {card.scale}x")
    device = best_device()
    keep_buffers()
    _move_to(device, descriptor.model, _layout(descriptor))
    plain = card.dtype == "bfloat16" and card.value_range == "unit" and not card.options and bfloat16_is_fast(device)
    run = mixed_precision(found, descriptor.model) if plain else None
    size = sum(parameter.nbytes for parameter in descriptor.model.parameters())
    return NetworkExpert(card, descriptor, device, size, run)


def recognised(file: Path) -> Any:
    """spandrel's descriptor of the image-to-image network in a weight file, on the CPU.

    Raises `WeightsError`.
    """
    from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError

    _add_extra_architectures()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from the code of the networks, and about files that are refused anyway
            descriptor = ModelLoader().load_from_state_dict(read_state_dict(file))
    except (UnsupportedModelError, ValueError, KeyError, RuntimeError) as error:
        why = str(error).split("\n", 1)[0] or "not a network that spandrel knows"
        raise WeightsError(f"{file.name} cannot be loaded: {why}") from error
    channels = (descriptor.input_channels, descriptor.output_channels)
    if not isinstance(descriptor, ImageModelDescriptor) or channels != (3, 3):
        raise WeightsError(
            f"{file.name} is a {descriptor.architecture.id} whose input and output are not colour images"
        )
    return descriptor


def _layout(descriptor: Any) -> torch.memory_format:
    import torch

    return torch.contiguous_format if descriptor.architecture.id in PLAIN_LAYOUT else torch.channels_last


def _move_to(device: torch.device, model: torch.nn.Module, layout: torch.memory_format) -> None:
    """Move the model to the device, ready to run. Raises `ResourceError` if the memory does not suffice."""
    import torch

    try:
        model.float().eval().to(device)
        for weights in model.parameters():
            if weights.dim() == 4:  # FFTformer also has five-dimensional weights
                weights.data = weights.data.contiguous(memory_format=layout)
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"the memory of {device} is full", "close other programs, or use smaller experts"
        ) from error


def _file_of(card: SpandrelCard, store: ModelStore, embedded: Path) -> Path:
    if card.file is not None:
        return store.require(card.file.name, availability(card, store).advice)
    file = embedded / (card.weights or "")
    if not file.is_file():
        raise WeightsMissing(f"expert {card.name}: its weights {file} are missing", "install restore4k again")
    return file


@cache
def _add_extra_architectures() -> None:
    """Register the architectures under more restrictive licences, if the user has installed them."""
    with contextlib.suppress(ImportError), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its import scripts a function, which torch 2.15 deprecates
        import spandrel_extra_arches

        spandrel_extra_arches.install(ignore_duplicates=True)
