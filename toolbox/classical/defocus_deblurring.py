"""Classical defocus deblurring: read the blur from the spectrum, then deconvolve."""

from __future__ import annotations

import cv2
import numpy as np

from imaging.control import Control
from imaging.convert import FloatArray
from toolbox.classical.blur_kernel import find_defocus
from toolbox.classical.deconvolution import richardson_lucy, total_variation_deconvolution, wiener_deconvolution
from toolbox.classical.filters import luma, noise_sigma


def total_variation(pixels: FloatArray, control: Control) -> FloatArray:
    """Total-variation prior (Wang et al. 2008)."""
    blur, _ = find_defocus(luma(pixels))
    if blur.is_sharp:
        return pixels
    return total_variation_deconvolution(pixels, blur.kernel(), noise_sigma(pixels), control)


def wiener(pixels: FloatArray, control: Control) -> FloatArray:
    """Wiener filter."""
    blur, _ = find_defocus(luma(pixels))
    return pixels if blur.is_sharp else wiener_deconvolution(pixels, blur.kernel(), noise_sigma(pixels))


def lucy(pixels: FloatArray, control: Control) -> FloatArray:
    """Richardson-Lucy."""
    blur, _ = find_defocus(luma(pixels))
    return pixels if blur.is_sharp else richardson_lucy(pixels, blur.kernel(), 15, control)


def unsharp_mask(pixels: FloatArray, control: Control) -> FloatArray:
    """Add what a Gaussian as wide as the blur removes; mild, and safe where the guess is wrong."""
    blur, _ = find_defocus(luma(pixels))
    sigma = 1.0 if blur.is_sharp else min(blur.size * (0.5 if blur.kind == "disk" else 1.0), 3.0)
    return np.clip(pixels + 0.8 * (pixels - cv2.GaussianBlur(pixels, (0, 0), sigma)), 0, 1)
