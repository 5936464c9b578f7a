"""Filters and estimates that several classical experts share."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray
from toolbox.classical.sampling import windows

Filter = Callable[[FloatArray], FloatArray]
"""What a local expert gives: from a tile, (h, w, 3) in [0, 1], to what it becomes."""

MEDIAN_OF_NORMAL = 0.6744897502
"""Median of the absolute value of a standard normal variable."""


def unchanged(tile: FloatArray) -> FloatArray:
    """The filter where there is nothing to do."""
    return tile


def guided_filter(guide: FloatArray, plane: FloatArray, radius: int, epsilon: float) -> FloatArray:
    """Smooth `plane` (H, W) along the edges of `guide` (H, W); He et al., "Guided image filtering", 2013."""

    def mean(values: FloatArray) -> FloatArray:
        box: FloatArray = cv2.boxFilter(values, -1, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)
        return box

    mean_guide, mean_plane = mean(guide), mean(plane)
    slope = (mean(guide * plane) - mean_guide * mean_plane) / (mean(guide * guide) - mean_guide**2 + epsilon)
    offset = mean_plane - slope * mean_guide
    return mean(slope) * guide + mean(offset)


def noise_sigma(pixels: FloatArray) -> float:
    """Deviation of white noise in [0, 1] units, the mean over channels (wavelet MAD, Donoho & Johnstone 1994).

    As scikit-image's `estimate_sigma`, which has no answer for a channel that is plain; such ones say nothing here.
    """
    import pywt

    parts = windows(pixels)
    details = [
        np.concatenate([pywt.dwt2(part[:, :, channel], "db2")[1][2].ravel() for part in parts])
        for channel in range(pixels.shape[2])
    ]
    medians = [np.median(np.abs(detail[detail != 0])) for detail in details if detail.any()]
    return float(np.mean(medians)) / MEDIAN_OF_NORMAL if medians else 0.0


def with_luma(pixels: FloatArray, plane: FloatArray) -> FloatArray:
    """The same colours with another luma, by adding the difference to every channel."""
    return np.clip(pixels + (plane - luma(pixels))[:, :, None], 0, 1)
