"""Colours of fully transparent pixels, which are invisible but would affect experts and measurements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.image import Image
from imaging.pixels import copied, empty, row_chunks


def bleed_alpha(image: Image) -> Image:
    """Give every pixel of alpha 0 the colour of the nearest visible pixel.

    Most files store black there, which would be measured as a part of the image and blended into the visible border
    by experts. An image without transparent pixels, or without visible ones, is returned unchanged.
    """
    if image.alpha is None:
        return image
    hidden = np.empty((image.height, image.width), bool)
    for rows in row_chunks(image.alpha):
        hidden[rows] = image.alpha[0, rows].numpy() == 0
    if hidden.all() or not hidden.any():
        return image
    # Only visible pixels next to a transparent one can be the nearest; these are few.
    border = cv2.dilate(hidden.view(np.uint8), np.ones((3, 3), np.uint8)) > hidden
    colours = image.pixels.flatten(1)[:, np.flatnonzero(border)].numpy()
    pixels = copied(image.pixels)
    nearest = _nearest(border)
    for rows in row_chunks(pixels):
        pixels.numpy()[:, rows][:, hidden[rows]] = colours[:, nearest[rows][hidden[rows]]]
    return replace(image, pixels=pixels)


def _nearest(marked: NDArray[np.bool_]) -> NDArray[np.int32]:
    """For each pixel the index of the nearest marked pixel, counted row by row."""
    import torch

    distances, labels = empty(marked.shape), empty(marked.shape, torch.int32)
    cv2.distanceTransformWithLabels(
        (~marked).view(np.uint8), cv2.DIST_L2, 5, distances.numpy(), labels.numpy(), cv2.DIST_LABEL_PIXEL
    )
    numbers: NDArray[Any] = labels.numpy()
    numbers -= 1  # 0 becomes -1, the last one, beyond OpenCV's limit of 65533 pixels
    return numbers
