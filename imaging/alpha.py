"""What a file keeps behind full transparency: nobody sees it, but experts and measurements would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.image import Image
from imaging.pixels import copied, empty, row_chunks


def bleed_alpha(image: Image) -> Image:
    """The same picture, each pixel of alpha 0 in the colour of the nearest one that is visible.

    What files keep there, mostly black, would be perceived as a part of the picture, and experts would draw it into
    the visible border. Where no pixel is hidden, or all are, the image comes back as it is.
    """
    if image.alpha is None:
        return image
    hidden = np.empty((image.height, image.width), bool)
    for rows in row_chunks(image.alpha):
        hidden[rows] = image.alpha[0, rows].numpy() == 0
    if hidden.all() or not hidden.any():
        return image
    # Only a visible pixel beside a hidden one can be the nearest: few, where all visible ones would be many.
    border = cv2.dilate(hidden.view(np.uint8), np.ones((3, 3), np.uint8)) > hidden
    colours = image.pixels.flatten(1)[:, np.flatnonzero(border)].numpy()
    pixels = copied(image.pixels)
    nearest = _nearest(border)
    for rows in row_chunks(pixels):
        pixels.numpy()[:, rows][:, hidden[rows]] = colours[:, nearest[rows][hidden[rows]]]
    return replace(image, pixels=pixels)


def _nearest(marked: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The number of the marked pixel that is nearest to each, counted row by row."""
    import torch

    distances, labels = empty(marked.shape), empty(marked.shape, torch.int32)
    cv2.distanceTransformWithLabels(
        (~marked).view(np.uint8), cv2.DIST_L2, 5, distances.numpy(), labels.numpy(), cv2.DIST_LABEL_PIXEL
    )
    numbers: NDArray[Any] = labels.numpy()
    numbers -= 1  # -1, the last one, where OpenCV cannot count so far: beyond 65533 pixels
    return numbers
