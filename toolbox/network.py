"""Experts whose network is loaded by spandrel and run tile by tile."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imaging.device import best_device, bfloat16_is_fast, bfloat16_where_fast, device_memory, keep_buffers
from imaging.errors import ResourceError
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.tiling import run_tiled
from imaging.transfer import to_device
from toolbox.architectures import defer_spandrel, network_of
from toolbox.availability import availability
from toolbox.card import VALUE_RANGES, SpandrelCard
from toolbox.checkpoint import read_weights
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
OTHER_FORMATS = (
    "other networks can be used as ONNX (docs/experts.md tells how to export one), "
    "or in ncnn's format: its .param file with the .bin file beside it"
)
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
    """The network in bfloat16 with the image in float32, used instead of autocast; None if there is none."""

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        """Run the network; outputs for a small image are averaged over flips (self-ensemble, Timofte et al. 2016)."""
        import torch

        flips = _flips(image, self.card)

        def run(tile: Tensor) -> Tensor:
            if len(flips) == 1:
                return self.of_batch(tile)
            if len(flips) * tile.shape[-2] * tile.shape[-1] > self.card.tile**2:
                flipped = [self.of_batch(tile.flip(flip)) for flip in flips]
            else:
                flipped = list(self.of_batch(torch.cat([tile.flip(flip) for flip in flips])).chunk(len(flips)))
            return torch.stack([one.float().flip(flip) for one, flip in zip(flipped, flips, strict=True)]).mean(0)

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

    def of_batch(self, tiles: Tensor) -> Tensor:
        """The network's results for (B, 3, h, w) tiles in one pass, on its device; without self-ensemble."""
        # Always a copy, because some published networks (RCAN) write into their input.
        return self._scaled(to_device(tiles, self.device).contiguous(memory_format=_layout(self.descriptor)))

    def _tile(self) -> int:
        """Side of a tile without halo: the card's on a CPU, a larger one on a GPU with enough memory.

        Published networks keep their card's tile, because their memory use has not been measured.
        """
        if self.device.type != "cuda" or self.mixed_precision is None:
            return self.card.tile
        fitting = math.isqrt(device_memory() // 2 // BYTES_PER_PIXEL)
        return max(self.card.tile, min(LARGER_ON_GPU * self.card.tile, fitting))

    def _scaled(self, tile: Tensor) -> Tensor:
        """The output for a tile at the card's scale; a grey network runs on each channel."""
        grey = self.descriptor.input_channels == 1
        result = self._run(tile.reshape(-1, 1, *tile.shape[-2:])) if grey else self._run(tile)
        return at_scale(result.reshape(len(tile), 3, *result.shape[-2:]), tile, self.card.scale)

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
        factor, offset = VALUE_RANGES[self.card.value_range]
        options = {name: tile.new_full((len(tile), 1), value) for name, value in self.card.options.items()}
        result = self.descriptor.model(tile * factor + offset, **options)
        pixels: Tensor = (result[0] if isinstance(result, tuple | list) else result).float()
        return ((pixels - offset) / factor).clamp(0, 1)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast for networks without `mixed_precision`; many published ones fail with bfloat16 weights."""
        if self.card.dtype == "bfloat16":
            return bfloat16_where_fast(self.device)
        return contextlib.nullcontext()


def at_scale(result: Tensor, given: Tensor, scale: int) -> Tensor:
    """`result`, (B, 3, H, W), resized to `scale` times the size of `given` where the network has another scale."""
    import torch

    size = [side * scale for side in given.shape[-2:]]
    if list(result.shape[-2:]) == size:
        return result
    return torch.nn.functional.interpolate(result.float(), size, mode="bicubic", antialias=True).clamp_(0, 1)


def _flips(image: Image, card: SpandrelCard) -> tuple[tuple[int, ...], ...]:
    """The flips of the self-ensemble: as many as the card says and `SELF_ENSEMBLE_PIXELS` allows."""
    affordable = [flips for flips in (2, 4) if flips * image.width * image.height <= SELF_ENSEMBLE_PIXELS]
    return FLIPS[: min(card.self_ensemble, max(affordable, default=1))]


def load_network(card: SpandrelCard, store: ModelStore, embedded: Path = WEIGHTS) -> NetworkExpert:
    """The network of a card, from the embedded weights or from the store.

    Raises `WeightsMissing` if the file is missing, and `WeightsError` if it does not match the card.
    """
    file = _file_of(card, store, embedded)
    descriptor = recognised(file, card.architecture)
    found = descriptor.architecture.id
    if found != (card.architecture or found):
        raise WeightsError(f"expert {card.name}: {file.name} is a {found}, not a {card.architecture}")
    expected = card.network_scale or card.scale
    if descriptor.scale != expected:
        raise WeightsError(f"expert {card.name}: {file.name} has scale {descriptor.scale}x, not {expected}x")
    device = best_device()
    keep_buffers()
    _move_to(device, descriptor.model, _layout(descriptor))
    plain = card.dtype == "bfloat16" and card.value_range == "unit" and not card.options and bfloat16_is_fast(device)
    run = mixed_precision(found, descriptor.model) if plain else None
    size = sum(parameter.nbytes for parameter in descriptor.model.parameters())
    return NetworkExpert(card, descriptor, device, size, run)


def recognised(file: Path, architecture: str | None = None) -> Any:
    """spandrel's descriptor of the image-to-image network in a weight file, on the CPU.

    `architecture`: the expected one; the others are imported only if it does not fit. Raises `WeightsError`.
    """
    defer_spandrel()
    from spandrel.__helpers.model_descriptor import ImageModelDescriptor
    from spandrel.__helpers.registry import UnsupportedModelError

    try:
        descriptor = network_of(read_weights(file), architecture)
    except (UnsupportedModelError, ValueError, KeyError, RuntimeError) as error:
        why = str(error).split("\n", 1)[0] or "not a network that spandrel knows"
        raise WeightsError(f"{file.name} cannot be loaded: {why}", OTHER_FORMATS) from error
    channels = (descriptor.input_channels, descriptor.output_channels)
    if not isinstance(descriptor, ImageModelDescriptor) or channels not in ((3, 3), (1, 1)):
        raise WeightsError(
            f"{file.name} is a {descriptor.architecture.id} whose input and output are not images", OTHER_FORMATS
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
    if card.packaged:
        state = availability(card, store)
        if not state.can_run:
            raise WeightsMissing(f"expert {card.name}: {card.package_needed} is not installed", state.advice)
        file = Path(str(resources.files(card.package_needed))).parent / card.packaged
    else:
        file = embedded / (card.weights or "")
    if not file.is_file():
        raise WeightsMissing(f"expert {card.name}: its weights {file} are missing", "install restore4k again")
    return file
