"""Change of size with an antialiased kernel; the one resampler that everybody uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """(C, H, W) -> (C, height, width) by antialiased bicubic (Keys a = -0.5, as Pillow), clamped to [0, 1]."""
    import torch

    if tuple(pixels.shape[-2:]) == (height, width):
        return pixels
    resized = torch.nn.functional.interpolate(
        pixels[None], size=(height, width), mode="bicubic", align_corners=False, antialias=True
    )
    return resized[0].clamp(0, 1)


def fitted(height: int, width: int, long_side: int) -> tuple[int, int]:
    """(height, width) scaled so that the longer one is exactly `long_side`, the aspect kept, at least 1."""
    scale = long_side / max(height, width)
    return (
        long_side if height >= width else max(1, round(height * scale)),
        long_side if width >= height else max(1, round(width * scale)),
    )
