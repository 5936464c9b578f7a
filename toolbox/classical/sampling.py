"""What is measured of a large picture is measured on a part of it: nobody has to go over all its pixels."""

from __future__ import annotations

import math

import numpy as np

from imaging.convert import FloatArray

MOST_PIXELS = 1_000_000
"""Pictures up to this size are looked at whole."""
GRID = 3
WINDOW = 320


def thinned(pixels: FloatArray) -> FloatArray:
    """(h, w, 3): of a larger picture every nth row and column, for what needs no neighbours."""
    every = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / MOST_PIXELS))
    return np.ascontiguousarray(pixels[::every, ::every])


def windows(pixels: FloatArray) -> list[FloatArray]:
    """The picture, or nine windows evenly spread over a larger one, for what needs neighbours."""
    height, width = pixels.shape[:2]
    if height * width <= MOST_PIXELS:
        return [pixels]
    tops, lefts = (np.linspace(0, max(0, side - WINDOW), GRID).astype(int) for side in (height, width))
    return [pixels[top : top + WINDOW, left : left + WINDOW] for top in tops for left in lefts]


def middle(pixels: FloatArray, side: int) -> FloatArray:
    """The middle of a picture, no larger than that to a side."""
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
