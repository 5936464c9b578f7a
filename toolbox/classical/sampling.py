"""Samples of a large image, so that measurements need not read all its pixels."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imaging.convert import FloatArray

MOST_PIXELS = 1_000_000
"""Images up to this size are measured completely."""
GRID = 3
WINDOW = 320


def thinned(pixels: FloatArray) -> FloatArray:
    """(h, w, 3): every nth row and column of a large image, for measurements that need no neighbours."""
    every = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / MOST_PIXELS))
    return np.ascontiguousarray(pixels[::every, ::every])


def windows(pixels: FloatArray) -> list[FloatArray]:
    """The image, or nine evenly spaced windows of a large one, for measurements that need neighbours."""
    height, width = pixels.shape[:2]
    if height * width <= MOST_PIXELS:
        return [pixels]
    tops, lefts = (np.linspace(0, max(0, side - WINDOW), GRID).astype(int) for side in (height, width))
    return [pixels[top : top + WINDOW, left : left + WINDOW] for top in tops for left in lefts]


def middle(pixels: FloatArray, side: int) -> FloatArray:
    """The central crop of an image, with at most `side` pixels per side."""
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def shrunk(pixels: FloatArray, scale: float) -> FloatArray:
    """(H, W, C) pixels reduced by area; a side of less than a pixel becomes one pixel."""
    height, width = pixels.shape[:2]
    across, down = max(scale, 1 / width), max(scale, 1 / height)
    return np.asarray(cv2.resize(pixels, None, fx=across, fy=down, interpolation=cv2.INTER_AREA), np.float32)
