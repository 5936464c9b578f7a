"""Filters and noise estimation shared by the classical experts."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray
from toolbox.classical.sampling import windows

Filter = Callable[[FloatArray], FloatArray]
"""The return value of a local expert: maps a tile (h, w, 3) in [0, 1] to the restored tile."""

MEDIAN_OF_NORMAL = 0.6744897502
"""Median of the absolute value of a standard normal variable."""


def unchanged(tile: FloatArray) -> FloatArray:
    """The identity filter."""
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
    """Standard deviation of white noise in [0, 1], averaged over channels (wavelet MAD, Donoho & Johnstone 1994).

    As `estimate_sigma` of scikit-image, but constant channels, for which that returns NaN, are ignored.
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
    """Replace the luma by adding the difference to every channel."""
    return np.clip(pixels + (plane - luma(pixels))[:, :, None], 0, 1)
