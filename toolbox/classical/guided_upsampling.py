"""Guided upsampling: apply the change of a reduced image to the full image by a local linear model."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from imaging.convert import FloatArray

RADIUS = 6
"""Radius of the neighbourhood of a linear fit, in pixels of the reduced image."""
NOISE = 1e-4
"""Variance below which the slope is undetermined; it then approaches the ratio of the means."""
OFFSET = 0.02


def guided_upsampling(before: FloatArray, after: FloatArray) -> Callable[[FloatArray, slice, int], FloatArray]:
    """A function that applies the change from `before` to `after`, (h, w, 3) each, to rows of the full image.

    Its arguments are (n, W, 3) pixels, the slice of their rows, and the height of the full image. For changes of tone
    without detail; local linear models as in the fast guided filter (He & Sun 2015).
    """
    slope, offset = _lines(before, after)

    def applied(pixels: FloatArray, rows: slice, of: int) -> FloatArray:
        gain, lift = (_enlarged(part, rows, of, pixels.shape[1]) for part in (slope, offset))
        return np.clip(pixels * gain + lift, 0, 1)

    return applied


def _lines(before: FloatArray, after: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope and offset of after = slope * before + offset, (h, w, 3) each."""
    mean_before, mean_after = _mean(before), _mean(after)
    covariance = _mean(before * after) - mean_before * mean_after
    variance = _mean(before * before) - mean_before**2
    expected = (mean_after + OFFSET) / (mean_before + OFFSET)
    slope = (covariance + NOISE * expected) / (np.maximum(variance, 0) + NOISE)
    return _mean(slope), _mean(mean_after - slope * mean_before)


def _mean(planes: FloatArray) -> FloatArray:
    size = (2 * RADIUS + 1, 2 * RADIUS + 1)
    return np.asarray(cv2.boxFilter(planes, -1, size, borderType=cv2.BORDER_REFLECT), np.float32)


def _enlarged(small: FloatArray, rows: slice, of: int, width: int) -> FloatArray:
    """The given rows of `small` after bilinear upsampling to `of` rows and `width` columns."""
    place = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) * (len(small) / of) - 0.5
    place = np.clip(place, 0, len(small) - 1)
    upper = np.minimum(place.astype(int), len(small) - 1)
    lower = np.minimum(upper + 1, len(small) - 1)
    share = (place - upper)[:, None, None].astype(np.float32)
    mixed = small[upper] * (1 - share) + small[lower] * share
    return np.asarray(cv2.resize(mixed, (width, len(mixed)), interpolation=cv2.INTER_LINEAR), np.float32)
