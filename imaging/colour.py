"""Colour spaces and colour alignment; on (C, H, W) float32 tensors unless stated otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imaging.convert import FloatArray
from imaging.pixels import bands, empty, row_chunks
from imaging.resizing import resize

if TYPE_CHECKING:
    from torch import Tensor

BT601 = (0.299, 0.587, 0.114)
"""Weights of full-range luma."""
LOW_FREQUENCY_SIDE = 64
"""Longer side of the downscaled image from which `align_low_frequencies` takes colours."""


def luma(rgb: FloatArray) -> FloatArray:
    """(..., 3) RGB -> (...) full-range luma of ITU-R BT.601, in the range of the input.

    >>> round(float(luma(np.ones((1, 1, 3), np.float32))[0, 0]), 6)
    1.0
    """
    plane: FloatArray = rgb @ np.array(BT601, np.float32)
    return plane


def align_low_frequencies(pixels: Tensor, reference: Tensor, coarse_side: int = LOW_FREQUENCY_SIDE) -> Tensor:
    """Replace the low frequencies of `pixels` by those of `reference`; sizes may differ, aspect ratios should not.

    `coarse_side`: the longer side of the downscaled images whose difference is added. As in wavelet colour correction
    (StableSR, Wang et al. 2023), with one coarse band: unlike statistics of the whole image it also corrects a colour
    shift that varies over the image, and it does not change contrast.
    """
    import torch

    height, width = pixels.shape[-2:]
    scale = min(1.0, coarse_side / max(height, width))
    coarse = max(1, round(height * scale)), max(1, round(width * scale))
    shift = resize(reference, *coarse) - resize(pixels, *coarse)
    # Not `resize`, which clamps to [0, 1].
    tall, widen = _cubic(shift, height, coarse[1])[0], _cubic(torch.eye(coarse[1])[None], coarse[1], width)[0, 0]
    aligned = empty((len(pixels), height, width))
    for rows in row_chunks(pixels, aligned):
        for band in bands(rows, width):
            for channel, plane in enumerate(aligned[:, band]):
                # A matrix product takes half as long as torch's interpolation.
                torch.mm(tall[channel, band], widen, out=plane).add_(pixels[channel, band]).clamp_(0, 1)
    return aligned


def _cubic(planes: Tensor, height: int, width: int) -> Tensor:
    """(C, h, w) -> (1, C, height, width)."""
    import torch

    return torch.nn.functional.interpolate(planes[None], (height, width), mode="bicubic", align_corners=False)


def is_grey(pixels: Tensor) -> bool:
    """Whether the three channels of (3, H, W) are equal everywhere."""
    return all(
        pixels[0, rows].equal(pixels[1, rows]) and pixels[0, rows].equal(pixels[2, rows])
        for rows in row_chunks(pixels)
    )


def without_colour(pixels: Tensor) -> Tensor:
    """(3, H, W) with each channel replaced by the mean of all three."""
    grey = empty(tuple(pixels.shape))
    for rows in row_chunks(pixels, grey):
        grey[:, rows] = pixels[:, rows].mean(dim=0)
    return grey


def clamped(pixels: Tensor) -> Tensor:
    """The pixels clamped to [0, 1], contiguous; the same tensor if nothing changes."""
    if pixels.is_contiguous() and all(_is_within(plane[rows]) for rows in row_chunks(pixels) for plane in pixels):
        return pixels
    result = empty(tuple(pixels.shape))
    for rows in row_chunks(pixels, result):
        result[:, rows] = pixels[:, rows].clamp(0, 1)
    return result


def _is_within(plane: Tensor) -> bool:
    least, most = plane.aminmax()
    return bool(least >= 0) and bool(most <= 1)
