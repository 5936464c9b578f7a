"""The crops from which a large image is measured: nine, one in each cell of a grid, where activity is highest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray, to_numpy
from imaging.image import Image
from imaging.resizing import fitted, resize

if TYPE_CHECKING:
    from torch import Tensor


CROP = 288
"""Side of a crop in pixels."""
GRID = 3
"""Cells of the grid along each side; each has one crop."""
OVERVIEW = 384
"""Long side of the downscaled image on which activity is measured."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in fractions of width and height, so that it does not depend on the scale of the image."""

    left: float
    top: float
    right: float
    bottom: float


def crops_of(image: Image, small: Image | None = None) -> tuple[Box, ...]:
    """Nine boxes of at most 288x288 pixels, one in each cell of a 3x3 grid, at the cell's most active place.

    If a cell is not larger than that, the box is the cell. The box with most activity comes first. The result is
    deterministic. `small`: the image already reduced by `imaging.resizing.averaged` for `OVERVIEW`, to save time.
    """
    rgb = overview(small or image, OVERVIEW)
    height, width = rgb.shape[:2]
    box_height = max(1, round(height * min(1 / GRID, CROP / image.height)))
    box_width = max(1, round(width * min(1 / GRID, CROP / image.width)))
    activity = _activity(luma(rgb), box_height, box_width)
    found: list[tuple[float, Box]] = []
    for row in range(GRID):
        for column in range(GRID):
            top, left = height * row // GRID, width * column // GRID
            last_top = max(top, height * (row + 1) // GRID - box_height)
            last_left = max(left, width * (column + 1) // GRID - box_width)
            places = activity[top : last_top + 1, left : last_left + 1]
            down, right = np.unravel_index(int(np.argmax(places)), places.shape)
            y, x = top + int(down), left + int(right)
            bottom, far = min(1.0, (y + box_height) / height), min(1.0, (x + box_width) / width)
            found.append((float(places.max()), Box(x / width, y / height, far, bottom)))
    return tuple(box for _, box in sorted(found, key=lambda each: -each[0]))


def cut(image: Image, box: Box, *, largest: int = CROP, multiple_of: int = 1) -> Tensor:
    """(3, h, w) pixels at the centre of the box, at most `largest` to a side; a view, not a copy.

    The crop begins at a multiple of `multiple_of` pixels, so that a JPEG grid keeps its alignment.
    """
    top, bottom = _middle(box.top, box.bottom, image.height, largest, multiple_of)
    left, right = _middle(box.left, box.right, image.width, largest, multiple_of)
    return image.pixels[:, top:bottom, left:right]


def overview(image: Image, long_side: int) -> FloatArray:
    """(h, w, 3) RGB in [0, 1]: the whole image, its long side reduced to at most `long_side`."""
    if image.long_side <= long_side:
        return to_numpy(image.pixels)
    return to_numpy(resize(image.pixels, *fitted(image.height, image.width, long_side)))


def _activity(luma: FloatArray, box_height: int, box_width: int) -> FloatArray:
    """(h, w): mean gradient in the box whose upper left corner is at each pixel."""
    import cv2

    gradient = cv2.magnitude(cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1))
    mean = cv2.boxFilter(gradient, -1, (box_width, box_height), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(mean, np.float32)


def _middle(start: float, stop: float, size: int, largest: int, multiple_of: int) -> tuple[int, int]:
    first, last = round(start * size), max(round(stop * size), round(start * size) + 1)
    spare = max(0, last - first - largest)
    first = (first + spare // 2) // multiple_of * multiple_of
    return first, min(size, first + min(last - first, largest))
