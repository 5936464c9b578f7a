"""Luma of an `Image` as the published metrics define it."""

from __future__ import annotations

import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray, to_numpy
from imaging.image import Image
from iqa.errors import SizesDiffer

STUDIO = np.array([65.481 / 255, 128.553 / 255, 24.966 / 255], np.float32)
"""Weights of BT.601 luma in studio range, the Y of the super-resolution literature; its offset is 16/255."""


def luma_255(image: Image) -> FloatArray:
    """(H, W) float32 integers in [0, 255]: 8-bit BT.601 luma, as MATLAB's rgb2gray."""
    grey: FloatArray = np.rint(255 * luma(to_numpy(image.pixels)))
    return grey


def studio_luma(image: Image) -> FloatArray:
    """(H, W) float32 in [16/255, 235/255]: the Y of YCbCr."""
    plane: FloatArray = to_numpy(image.pixels) @ STUDIO + np.float32(16 / 255)
    return plane


def require_same_size(image: Image, reference: Image) -> None:
    """Raise `SizesDiffer` unless both have the same width and height."""
    if (image.width, image.height) != (reference.width, reference.height):
        raise SizesDiffer(
            f"the image is {image.width}x{image.height}, its reference {reference.width}x{reference.height}",
            "resize one of them first",
        )
