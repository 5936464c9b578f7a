"""Running a network over an image of any size in overlapping, blended tiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from imaging.errors import ResourceError
from imaging.pixels import drop_pages, empty, row_chunks
from imaging.progress import ProgressToken
from imaging.transfer import to_cpu, to_device

if TYPE_CHECKING:
    from torch import Tensor

Network: TypeAlias = "Callable[[Tensor], Tensor]"
"""(1, 3, h, w) float32 in [0, 1] -> (1, 3, h * scale, w * scale) in [0, 1]."""

FEATHER = 8
"""Half the width of the cross-fade between two tiles, in input pixels, around the middle of their overlap."""
SMALLEST_TILE = 64


def run_tiled(
    network: Network,
    pixels: Tensor,
    *,
    scale: int = 1,
    tile: int = 384,
    halo: int = 32,
    multiple_of: int = 1,
    square: bool = False,
    token: ProgressToken | None = None,
) -> Tensor:
    """Run `network` over (3, H, W) pixels and return (3, H * scale, W * scale).

    Equals the untiled result if the receptive field of the network reaches no further than `halo` - `FEATHER` pixels.
    `tile` and `halo` are in input pixels and are rounded up to `multiple_of`. A tile has at most `tile` squared
    pixels; it spans the picture from side to side if fewer pixels are then computed twice, unless tiles must be
    `square`, the shape that a network was trained on. Tiles begin at multiples, so that networks with strided layers
    sample the same grid as without tiles. Needs memory for the output and for the network on one tile; if that fails,
    the tile is halved. Raises `Cancelled` between tiles, and `ResourceError` if the smallest tile does not fit.
    """
    token = token or ProgressToken()
    while True:
        try:
            return _run(network, pixels, scale, tile, halo, multiple_of, square, token)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        if tile <= SMALLEST_TILE + 2 * halo:
            raise ResourceError(
                f"out of memory even with tiles of {tile} pixels",
                "close other programs or use a smaller expert",
            )
        tile = max(tile // 2, SMALLEST_TILE + 2 * halo)


@dataclass(frozen=True, slots=True)
class _Span:
    """One tile along one axis: its range in the input, and the part of its result that is used."""

    start: int
    stop: int
    first: int
    """Start of its part in the output."""
    seam: int
    """Number of pixels from `first` that earlier tiles have written to."""
    weight: Tensor
    """Blending weight of each pixel; the weights of all tiles sum to 1."""

    @property
    def place(self) -> slice:
        """The range of its part in the output."""
        return slice(self.first, self.first + len(self.weight))

    def only(self, band: slice) -> _Span:
        """The span restricted to one band of its part."""
        size = band.stop - band.start
        seam = min(max(0, self.seam - band.start), size)
        return replace(self, first=self.first + band.start, seam=seam, weight=self.weight[band])

    def part(self, scale: int) -> slice:
        """The range of its part in the result of the tile."""
        before = self.first - self.start * scale
        return slice(before, before + len(self.weight))


def _run(
    network: Network,
    pixels: Tensor,
    scale: int,
    tile: int,
    halo: int,
    multiple_of: int,
    square: bool,
    token: ProgressToken,
) -> Tensor:
    height, width = pixels.shape[-2:]
    padded = _pad(pixels, multiple_of)
    halo = _round_up(halo, multiple_of)
    rows, columns = (
        _spans(length, side, halo, multiple_of, scale)
        for length, side in zip(padded.shape[-2:], _sides(padded, tile, halo, multiple_of, square), strict=True)
    )
    output = empty((len(pixels), height * scale, width * scale))
    grid = [(row, column) for row in rows for column in columns]
    behind: list[Callable[[], None]] = []
    for done, (row, column) in enumerate(grid):
        token.report(done / len(grid))
        part = _part(network, padded, scale, row, column)
        coming: list[Callable[[], None]] = [
            partial(_put, wait, output, row.only(band), column) for band, wait in to_cpu(part)
        ]
        # The CPU writes the previous tile while the GPU computes this one.
        on_gpu = part.device.type == "cuda"
        for put in behind if on_gpu else coming:
            put()
        behind = coming if on_gpu else []
        del part, coming
        if column is columns[-1]:
            drop_pages(padded)
            drop_pages(output)
    for put in behind:
        put()
    token.report(1.0)
    return output


def _part(network: Network, pixels: Tensor, scale: int, row: _Span, column: _Span) -> Tensor:
    """The weighted part of the result of one tile, on the device of the network."""
    output = network(pixels[None, :, row.start : row.stop, column.start : column.stop])[0]
    part = output[:, row.part(scale), column.part(scale)].float()
    if (row.stop - row.start, column.stop - column.start) == tuple(pixels.shape[-2:]):
        return part
    down, along = (to_device(weight, part.device) for weight in (row.weight[:, None], column.weight[None]))
    return (part * down).mul_(along)


def _put(wait: Callable[[], Tensor], output: Tensor, row: _Span, column: _Span) -> None:
    """Add a part to the output, without the padding."""
    place = output[:, row.place, column.place]
    part = wait()[:, : place.shape[1], : place.shape[2]]
    for seam in (np.s_[:, : row.seam], np.s_[:, row.seam :, : column.seam]):
        place[seam].add_(part[seam]).clamp_(max=1)  # rounding may exceed 1
    rest = np.s_[:, row.seam :, column.seam :]
    place[rest] = part[rest]


def _sides(padded: Tensor, tile: int, halo: int, multiple_of: int, square: bool) -> tuple[int, int]:
    """Height and width of the tiles, squares or from side to side, for which the fewest pixels are computed."""
    least, (height, width) = 2 * halo + multiple_of, padded.shape[-2:]
    side = max(_round_up(tile, multiple_of), least)
    if square:
        return side, side
    across, down = (side**2 // length // multiple_of * multiple_of for length in (width, height))
    choices = [(side, side), *([(across, width)] * (across >= least)), *([(height, down)] * (down >= least))]

    def computed(sides: tuple[int, int]) -> int:
        counts_and_sides = (
            _count_and_side(length, side, halo, multiple_of)
            for length, side in zip((height, width), sides, strict=True)
        )
        return math.prod(count * side for count, side in counts_and_sides)

    return min(choices, key=computed)


def _count_and_side(length: int, tile: int, halo: int, multiple_of: int) -> tuple[int, int]:
    """The number of tiles along an axis, and their common size, no larger than the overlap requires."""
    if length <= tile:
        return 1, length
    count = -(-(length - 2 * halo) // (tile - 2 * halo))
    return count, _round_up(-(-(length + 2 * halo * (count - 1)) // count), multiple_of)


def _spans(length: int, tile: int, halo: int, multiple_of: int, scale: int) -> list[_Span]:
    """The tiles along an axis: as few as possible."""
    import torch

    count, tile = _count_and_side(length, tile, halo, multiple_of)
    if count == 1:
        return [_Span(0, length, 0, 0, torch.ones(length * scale))]
    starts = [min(index * (tile - 2 * halo), length - tile) for index in range(count)]
    fade = min(FEATHER, halo)
    total = torch.zeros(length * scale)
    parts = []
    for start in starts:
        ahead, after = start > 0, start + tile < length
        first, last = start + (halo - fade) * ahead, start + tile - (halo - fade) * after
        weight = torch.ones((last - first) * scale)
        ramp = (torch.arange(2 * fade * scale) + 0.5) / (2 * fade * scale or 1)
        if ahead:
            weight[: len(ramp)] = ramp
        if after:
            weight[len(weight) - len(ramp) :] = ramp.flip(0)
        total[first * scale : last * scale] += weight
        parts.append((start, first * scale, last * scale, weight))
    before = [0, *(last for _, _, last, _ in parts)]
    return [
        _Span(start, start + tile, first, end - first, weight / total[first:last])
        for end, (start, first, last, weight) in zip(before, parts, strict=False)
    ]


def _pad(pixels: Tensor, multiple_of: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of `multiple_of`."""
    height, width = pixels.shape[-2:]
    bottom, right = -height % multiple_of, -width % multiple_of
    if not bottom and not right:
        return pixels
    padded = empty((len(pixels), height + bottom, width + right))
    for rows in row_chunks(pixels):
        padded[:, rows, :width] = pixels[:, rows]
        padded[:, rows, width:] = pixels[:, rows, -1:]
        drop_pages(padded)
    padded[:, height:] = padded[:, height - 1 : height]
    return padded


def _round_up(value: int, multiple_of: int) -> int:
    return -(-value // multiple_of) * multiple_of


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
