"""A network over an image of any size: overlapping tiles, blended, within the memory of one tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from imaging.control import Control
from imaging.errors import ResourceError
from imaging.pixels import let_go, strips, zeros

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Network: TypeAlias = "Callable[[Tensor], Tensor]"
"""(1, 3, h, w) float32 in [0, 1] -> (1, 3, h * scale, w * scale)."""

FEATHER = 8
"""Two tiles are cross-faded over at most twice this many input pixels around the middle of their overlap."""
SMALLEST_TILE = 64


def run_tiled(
    network: Network,
    pixels: Tensor,
    *,
    scale: int = 1,
    tile: int = 384,
    halo: int = 32,
    multiple_of: int = 1,
    control: Control | None = None,
) -> Tensor:
    """Run `network` over (3, H, W) pixels and give (3, H * scale, W * scale).

    Equal to the untiled result wherever the network's receptive field reaches no further than
    `halo` - `FEATHER` pixels. `tile` and `halo` are in input pixels and are rounded up to `multiple_of`, on whose
    grid every tile begins, so that networks which halve their input see the same grid as without tiles.
    Memory: the output, plus what the network needs for one tile; where that fails, the tile is halved.
    Raises `Cancelled` between tiles, `ResourceError` when even the smallest tile does not fit.
    """
    control = control or Control()
    while True:
        try:
            return _run(network, pixels, scale, tile, halo, multiple_of, control)
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
    """One tile along one axis: its place, and how much its pixels count (they sum to 1 over all tiles)."""

    start: int
    stop: int
    weight: torch.Tensor


def _run(
    network: Network, pixels: Tensor, scale: int, tile: int, halo: int, multiple_of: int, control: Control
) -> Tensor:
    height, width = pixels.shape[-2:]
    output = zeros((len(pixels), height * scale, width * scale))
    padded = _pad(pixels, multiple_of)
    halo = _round_up(halo, multiple_of)
    tile = max(_round_up(tile, multiple_of), 2 * halo + multiple_of)
    rows = _spans(padded.shape[-2], tile, halo, multiple_of, scale)
    columns = _spans(padded.shape[-1], tile, halo, multiple_of, scale)
    if len(rows) == len(columns) == 1:
        control.report(0.0)
        output[:] = network(padded[None])[0].float().cpu()[:, : height * scale, : width * scale]
        control.report(1.0)
        return output
    _blend(network, padded, output, scale, rows, columns, control)
    return output


def _blend(
    network: Network,
    pixels: Tensor,
    output: Tensor,
    scale: int,
    rows: list[_Span],
    columns: list[_Span],
    control: Control,
) -> None:
    """Add every tile to `output`, which ends where the padding begins."""
    for done, (row, column) in enumerate(_grid(rows, columns)):
        control.report(done / (len(rows) * len(columns)))
        part = network(pixels[None, :, row.start : row.stop, column.start : column.stop])[0].float().cpu()
        part = (part * row.weight[:, None]).mul_(column.weight)
        place = output[:, row.start * scale : row.stop * scale, column.start * scale : column.stop * scale]
        place += part[:, : place.shape[1], : place.shape[2]]
        if column is columns[-1]:
            let_go(pixels)
            let_go(output)
    control.report(1.0)


def _grid(rows: list[_Span], columns: list[_Span]) -> Iterator[tuple[_Span, _Span]]:
    return ((row, column) for row in rows for column in columns)


def _spans(length: int, tile: int, halo: int, multiple_of: int, scale: int) -> list[_Span]:
    """The tiles along an axis: as few as go, all of one size and no larger than they must be to meet."""
    import torch

    if length <= tile:
        return [_Span(0, length, torch.ones(length * scale))]
    count = -(-(length - 2 * halo) // (tile - 2 * halo))
    tile = _round_up(-(-(length + 2 * halo * (count - 1)) // count), multiple_of)
    starts = [min(index * (tile - 2 * halo), length - tile) for index in range(count)]
    weights = []
    for start in starts:
        ramp = torch.ones(tile * scale)
        edge = _ramp(halo * scale, min(FEATHER, halo) * scale)
        if start > 0:
            ramp[: len(edge)] = edge
        if start + tile < length:
            ramp[len(ramp) - len(edge) :] = edge.flip(0)
        weights.append(ramp)
    total = torch.zeros(length * scale)
    for start, weight in zip(starts, weights, strict=True):
        total[start * scale : (start + tile) * scale] += weight
    return [
        _Span(start, start + tile, weight / total[start * scale : (start + tile) * scale])
        for start, weight in zip(starts, weights, strict=True)
    ]


def _ramp(middle: int, feather: int) -> Tensor:
    """Nothing up to `middle` - `feather`, everything from `middle` + `feather` on, straight in between."""
    import torch

    position = torch.arange(middle + feather, dtype=torch.float32) + 0.5
    return ((position - (middle - feather)) / max(2 * feather, 1)).clamp(0, 1)


def _pad(pixels: Tensor, multiple_of: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples."""
    height, width = pixels.shape[-2:]
    bottom, right = -height % multiple_of, -width % multiple_of
    if not bottom and not right:
        return pixels
    padded = zeros((len(pixels), height + bottom, width + right))
    for rows in strips(pixels):
        padded[:, rows, :width] = pixels[:, rows]
        padded[:, rows, width:] = pixels[:, rows, -1:]
        let_go(padded)
    padded[:, height:] = padded[:, height - 1 : height]
    return padded


def _round_up(value: int, multiple_of: int) -> int:
    return -(-value // multiple_of) * multiple_of


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
