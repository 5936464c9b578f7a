"""Change of size with an antialiased kernel; the one resampler that everybody uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imaging.pixels import STRIP_PIXELS, let_go, strips, zeros

if TYPE_CHECKING:
    from torch import Tensor


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """(C, H, W) -> (C, height, width) by antialiased bicubic (Keys a = -0.5, as Pillow), clamped to [0, 1].

    First every row, then every column, which is how torch does it too: the same numbers as in one go.
    """
    if tuple(pixels.shape[-2:]) == (height, width):
        return pixels
    channels, before, _ = pixels.shape
    wide = pixels if pixels.shape[-1] == width else zeros((channels, before, width))
    if wide is not pixels:
        for rows in strips(pixels, wide):
            wide[:, rows] = _resampled(pixels[:, rows], rows.stop - rows.start, width)
    result = zeros((channels, height, width))
    parts = max(1, min(width // 2, max(before, height) * width // STRIP_PIXELS))  # torch errs on single columns
    for part in range(parts):
        columns = slice(width * part // parts, width * (part + 1) // parts)
        result[..., columns] = _resampled(wide[..., columns], height, columns.stop - columns.start).clamp_(0, 1)
        let_go(wide)
        let_go(result)
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
