"""Structural similarity (Wang et al. 2004), over the RGB channels and of luma."""

from __future__ import annotations

import numpy as np

from imaging.convert import FloatArray, to_numpy
from imaging.image import Image
from iqa.errors import ImageTooSmall
from iqa.luma import require_same_size, studio_luma
from iqa.metric import Metric

WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2


def ssim(image: Image, reference: Image) -> float:
    """Mean SSIM of the three channels in [-1, 1], 1 for identical images; Gaussian 11x11 window of sigma 1.5.

    Raises `SizesDiffer`, `ImageTooSmall` below 11 pixels.
    """
    require_same_size(image, reference)
    first, second = to_numpy(image.pixels), to_numpy(reference.pixels)
    return float(np.mean([ssim_of(first[..., c], second[..., c]) for c in range(3)]))


def ssim_y(image: Image, reference: Image) -> float:
    """SSIM in [-1, 1] of BT.601 studio-range Y. Raises `SizesDiffer`, `ImageTooSmall` below 11 pixels."""
    require_same_size(image, reference)
    return ssim_of(studio_luma(image), studio_luma(reference))


def ssim_of(image: FloatArray, reference: FloatArray) -> float:
    """SSIM of one channel (H, W) in [0, 1]: the mean over windows that lie inside the image."""
    import cv2

    height, width = image.shape
    if min(height, width) < WINDOW:
        raise ImageTooSmall(f"SSIM needs {WINDOW}x{WINDOW} pixels, got {width}x{height}")
    x, y = np.ascontiguousarray(image), np.ascontiguousarray(reference)

    def blur(plane: FloatArray) -> FloatArray:
        blurred = np.asarray(cv2.GaussianBlur(plane, (WINDOW, WINDOW), SIGMA), np.float32)
        return blurred[WINDOW // 2 : height - WINDOW // 2, WINDOW // 2 : width - WINDOW // 2]

    mean_x, mean_y = blur(x), blur(y)
    variance_sum = blur(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    similarity /= (mean_x**2 + mean_y**2 + C1) * (variance_sum + C2)
    return float(similarity.mean(dtype=np.float64))


METRICS = (
    Metric(
        name="ssim",
        higher_is_better=True,
        range=(-1.0, 1.0),
        reference="full",
        about="Structural similarity of RGB to the original image.",
        measure=ssim,
    ),
    Metric(
        name="ssim_y",
        higher_is_better=True,
        range=(-1.0, 1.0),
        reference="full",
        about="Structural similarity of luma, as super-resolution papers report it.",
        measure=ssim_y,
    ),
)
