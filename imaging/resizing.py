"""Resizing with an antialiased kernel; the only resampler of this project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imaging.pixels import CHUNK_PIXELS, drop_pages, empty, row_chunks

if TYPE_CHECKING:
    from torch import Tensor

BLOCKS = (8, 4, 2)
LEAST_LEFT = 2.5
"""Smallest ratio to the target size after averaging blocks, for a mean error below one level of 8 bits."""


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """(C, H, W) -> (C, height, width) by antialiased bicubic (Keys a = -0.5, as Pillow), clamped to [0, 1].

    Resizes rows first, then columns, in chunks; the result is the same as in one call of torch. For large reductions
    whole blocks are averaged first, if the sides are divisible, which at least halves the time.
    """
    if tuple(pixels.shape[-2:]) == (height, width):
        return pixels
    pixels = _averaged(pixels, _block(pixels.shape[-2:], height, width))
    channels, before, _ = pixels.shape
    wide = pixels if pixels.shape[-1] == width else empty((channels, before, width))
    if wide is not pixels:
        for rows in row_chunks(pixels, wide):
            wide[:, rows] = _resampled(pixels[:, rows], rows.stop - rows.start, width)
    result = empty((channels, height, width))
    parts = max(1, min(width // 2, max(before, height) * width // CHUNK_PIXELS))  # torch is wrong on single columns
    for part in range(parts):
        columns = slice(width * part // parts, width * (part + 1) // parts)
        result[..., columns] = _resampled(wide[..., columns], height, columns.stop - columns.start).clamp_(0, 1)
        drop_pages(wide)
        drop_pages(result)
    return result


def averaged(pixels: Tensor, long_side: int) -> Tensor:
    """The block average that `resize` to that long side begins with: (C, H, W) -> (C, H / n, W / n).

    Reducing it to several sizes is faster than reducing the original, and gives the same numbers.
    """
    height, width = pixels.shape[-2:]
    if max(height, width) <= long_side:
        return pixels
    return _averaged(pixels, _block((height, width), *fitted(height, width, long_side)))


def _block(sides: Sequence[int], height: int, width: int) -> int:
    """Side of the largest block that divides both sides and leaves `LEAST_LEFT` times the target size."""
    tall, wide = sides
    fitting = (block for block in BLOCKS if tall % block == wide % block == 0)
    return next((block for block in fitting if min(tall / height, wide / width) >= LEAST_LEFT * block), 1)


def _averaged(pixels: Tensor, block: int) -> Tensor:
    """(C, H / block, W / block): block means."""
    import torch

    if block == 1:
        return pixels
    channels, height, width = pixels.shape
    result = empty((channels, height // block, width // block))
    rows = max(1, CHUNK_PIXELS // (width * block))
    for top in range(0, result.shape[1], rows):
        rows_of_blocks = pixels[:, top * block : (top + rows) * block]
        result[:, top : top + rows] = torch.nn.functional.avg_pool2d(rows_of_blocks, block)
        drop_pages(pixels)
    return result


def _resampled(pixels: Tensor, height: int, width: int) -> Tensor:
    import torch

    return torch.nn.functional.interpolate(
        pixels[None], size=(height, width), mode="bicubic", align_corners=False, antialias=True
    )[0]


def fitted(height: int, width: int, long_side: int) -> tuple[int, int]:
    """(height, width) scaled so that the longer one is `long_side`, with the same aspect ratio, at least 1."""
    scale = long_side / max(height, width)
    return (
        long_side if height >= width else max(1, round(height * scale)),
        long_side if width >= height else max(1, round(width * scale)),
    )
