"""Classical defocus deblurring: estimate the blur from the power spectrum, then deconvolve."""

from __future__ import annotations

from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.blur_kernel import find_defocus
from toolbox.classical.deconvolution import richardson_lucy, total_variation_deconvolution, wiener_deconvolution
from toolbox.classical.filters import Filter, noise_sigma, unchanged


def tv_defocus(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Deconvolution with a total-variation prior (Wang et al. 2008)."""
    blur, _ = find_defocus(pixels)
    if blur.is_sharp:
        return unchanged
    kernel, noise = blur.kernel(), noise_sigma(pixels)
    return lambda tile: total_variation_deconvolution(tile, kernel, noise, token.watched_by(None))


def wiener_defocus(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Deconvolution by the Wiener filter."""
    blur, _ = find_defocus(pixels)
    if blur.is_sharp:
        return unchanged
    kernel, noise = blur.kernel(), noise_sigma(pixels)
    return lambda tile: wiener_deconvolution(tile, kernel, noise)


def lucy_defocus(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Richardson-Lucy deconvolution."""
    blur, _ = find_defocus(pixels)
    if blur.is_sharp:
        return unchanged
    kernel = blur.kernel()
    return lambda tile: richardson_lucy(tile, kernel, 15, token.watched_by(None))
