"""Change of size with an antialiased kernel; the one resampler that everybody uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imaging.pixels import CHUNK_PIXELS, drop_pages, empty, row_chunks

if TYPE_CHECKING:
    from torch import Tensor

BLOCKS = (8, 4, 2)
LEAST_LEFT = 2.5
"""Times the wanted size: what is left to the antialiased kernel, for a mean error below a step of 8 bits."""


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """(C, H, W) -> (C, height, width) by antialiased bicubic (Keys a = -0.5, as Pillow), clamped to [0, 1].

    First every row, then every column, which is how torch does it too: the same numbers as in one go. What becomes
    much smaller is averaged in whole blocks first, as far as its sides can be divided: half the time or less.
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
    parts = max(1, min(width // 2, max(before, height) * width // CHUNK_PIXELS))  # torch errs on single columns
    for part in range(parts):
        columns = slice(width * part // parts, width * (part + 1) // parts)
        result[..., columns] = _resampled(wide[..., columns], height, columns.stop - columns.start).clamp_(0, 1)
        drop_pages(wide)
        drop_pages(result)
    return result


def averaged(pixels: Tensor, long_side: int) -> Tensor:
    """Averaged in whole blocks as far as `resize` to that long side does so first; (C, H, W) -> (C, H / n, W / n).

    Several small pictures are made of it sooner than of a large picture, each with the same numbers.
    """
    height, width = pixels.shape[-2:]
    if max(height, width) <= long_side:
        return pixels
    return _averaged(pixels, _block((height, width), *fitted(height, width, long_side)))


def _block(sides: Sequence[int], height: int, width: int) -> int:
    """Side of the largest blocks that divide both sides and leave `LEAST_LEFT` times the size that is wanted."""
    tall, wide = sides
    fitting = (block for block in BLOCKS if tall % block == wide % block == 0)
    return next((block for block in fitting if min(tall / height, wide / width) >= LEAST_LEFT * block), 1)


def _averaged(pixels: Tensor, block: int) -> Tensor:
    """(C, H / block, W / block): means of blocks."""
    import torch

    if block == 1:
        return pixels
    channels, height, width = pixels.shape
    result = empty((channels, height // block, width // block))
    rows = max(1, CHUNK_PIXELS // (width * block))
    for top in range(0, result.shape[1], rows):
        strip = pixels[:, top * block : (top + rows) * block]
        result[:, top : top + rows] = torch.nn.functional.avg_pool2d(strip, block)
        drop_pages(pixels)
    return result


def _resampled(pixels: Tensor, height: int, width: int) -> Tensor:
    import torch

    return torch.nn.functional.interpolate(
        pixels[None], size=(height, width), mode="bicubic", align_corners=False, antialias=True
    )[0]


def fitted(height: int, width: int, long_side: int) -> tuple[int, int]:
    """(height, width) scaled so that the longer one is exactly `long_side`, the aspect kept, at least 1."""
    scale = long_side / max(height, width)
    return (
        long_side if height >= width else max(1, round(height * scale)),
        long_side if width >= height else max(1, round(width * scale)),
    )
