"""Motion-blur kernels: drawing straight lines, uniform or fading, and recognising them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from imaging.convert import FloatArray

LEAST_SKEW = 0.3
"""Minimum skewness along the major axis of a kernel that fades to one side."""
THIN_PX = 1.0
"""Standard deviation along the minor axis below which a kernel counts as a line."""


def line_kernel(length: float, angle_degrees: float, taper: float = 0.0) -> FloatArray:
    """A line of the given length through the centre; `taper` in [0, 1] fades its ends."""
    angle = math.radians(angle_degrees)
    points = np.linspace(-0.5, 0.5, max(2, round(length * 4)))
    weights = np.exp(-0.5 * (points / 0.3) ** 2 * taper)
    return splat(*centred(points * length * math.cos(angle), points * length * math.sin(angle), weights), weights)


def half_gaussian_kernel(sigma: float, angle_degrees: float) -> FloatArray:
    """The motion blur of ImageMagick, also used by ImageNet-C and MiO100: half a Gaussian with its peak at the pixel.

    It is one-sided, so it also shifts the image by 0.8 sigma on average. Truncated at 4 sigma: the radii 10 and 15 of
    ImageMagick correspond to lengths of 21 and 31 pixels.
    """
    angle = math.radians(angle_degrees)
    points = np.arange(0, 4 * sigma, 0.25)
    weights = np.exp(-0.5 * (points / sigma) ** 2)
    return splat(points * math.cos(angle), points * math.sin(angle), weights)


def centred(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points with their centre of mass at the origin; such a kernel does not shift the image."""
    return x - np.average(x, weights=weights), y - np.average(y, weights=weights)


def splat(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> FloatArray:
    """Draw weighted points bilinearly into a kernel with odd side, centred at the origin."""
    reach = math.ceil(max(np.abs(x).max(), np.abs(y).max())) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - column, y - row
    for dy, row_share in ((0, 1 - fy), (1, fy)):
        for dx, column_share in ((0, 1 - fx), (1, fx)):
            np.add.at(kernel, (row + dy + reach, column + dx + reach), weights * row_share * column_share)
    return np.asarray(kernel / kernel.sum(), np.float32)


def fades(kernel: FloatArray) -> bool:
    """Whether an estimated kernel (k, k) fades towards one end of its major axis."""
    return abs(_spread(kernel).skew) >= LEAST_SKEW


def is_thin(kernel: FloatArray) -> bool:
    """Whether an estimated kernel (k, k) is approximately a line."""
    return _spread(kernel).across < THIN_PX


def with_tail(kernel: FloatArray) -> FloatArray:
    """The half-Gaussian kernel, with its shift, that fits an estimated kernel (k, k) that fades to one side.

    Such a blur (MiO100) shifts the image. Blurred edges do not show the shift, but the shape of the kernel does.
    The factor 1.2 compensates for the missing tail of the estimate.
    """
    spread = _spread(kernel)
    angle = spread.angle if spread.skew > 0 else spread.angle + 180
    return half_gaussian_kernel(1.2 * spread.along / math.sqrt(1 - 2 / math.pi), angle)


class _Spread(NamedTuple):
    """Moments of an estimated kernel."""

    across: float
    """Standard deviation along the minor axis in pixels."""
    along: float
    """Standard deviation along the major axis in pixels."""
    skew: float
    """Skewness along the major axis."""
    angle: float
    """Angle of the major axis in degrees."""


def _spread(kernel: FloatArray) -> _Spread:
    rows, columns = np.indices(kernel.shape)
    offsets = np.stack([columns - (kernel * columns).sum(), rows - (kernel * rows).sum()]).reshape(2, -1)
    (minor, major), axes = np.linalg.eigh((offsets * kernel.ravel()) @ offsets.T)
    across, along = (math.sqrt(max(value, 1e-8)) for value in (minor, major))
    skew = float((kernel.ravel() * (axes[:, 1] @ offsets) ** 3).sum()) / along**3
    return _Spread(across, along, skew, math.degrees(math.atan2(axes[1, 1], axes[0, 1])))
