"""Film grain: brightness noise, strongest in the midtones, that gives texture to smooth enlargements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imaging.colour import BT601
from imaging.pixels import empty, row_chunks

if TYPE_CHECKING:
    from torch import Tensor

STRONGEST = 0.06
"""Standard deviation in the midtones at strength 1."""
PATTERN = 512
"""Side of the pattern, which is repeated."""
FINEST, COARSEST = 0.4, 1.6
"""Radius (sigma) of the grains in pixels."""
SCALE_OF_ONE_PIXEL = 8
"""Enlargement at which the grains have a sigma of one pixel."""


def add_grain(pixels: Tensor, strength: float, scale: float) -> Tensor:
    """(3, H, W) pixels with grain of a strength in [0, 1], for a picture that was enlarged `scale` times.

    The same picture always gets the same grain.
    """
    import torch

    pattern = _pattern(min(COARSEST, max(FINEST, scale / SCALE_OF_ONE_PIXEL)))
    columns = torch.arange(pixels.shape[-1]) % PATTERN
    weights = torch.tensor(BT601).view(3, 1, 1)
    result = empty(tuple(pixels.shape))
    for rows in row_chunks(pixels, result):
        part = pixels[:, rows]
        luma = (part * weights).sum(0)
        midtones = (4 * luma * (1 - luma)).clamp(0, 1).sqrt()
        noise = pattern[torch.arange(rows.start, rows.stop) % PATTERN][:, columns]
        result[:, rows] = (part + strength * STRONGEST * midtones * noise).clamp(0, 1)
    return result


def _pattern(sigma: float) -> Tensor:
    """(PATTERN, PATTERN) periodic noise of standard deviation 1."""
    import torch

    noise = torch.randn(PATTERN, PATTERN, generator=torch.Generator().manual_seed(0))
    frequency = torch.fft.fftfreq(PATTERN)
    squares = frequency[:, None] ** 2 + frequency[None, :] ** 2
    blurred = torch.fft.ifft2(torch.fft.fft2(noise) * torch.exp(-2 * (torch.pi * sigma) ** 2 * squares)).real
    pattern: Tensor = blurred / blurred.std()
    return pattern
