"""Classical defocus deblurring: read the blur from the spectrum, then deconvolve."""

from __future__ import annotations

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
