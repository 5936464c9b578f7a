"""Classical motion deblurring: estimate the kernel, then deconvolve."""

from __future__ import annotations

import math

from imaging.colour import luma
from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.blur_kernel import find_motion
from toolbox.classical.deconvolution import richardson_lucy, total_variation_deconvolution
from toolbox.classical.filters import Filter, noise_sigma, unchanged
from toolbox.classical.free_kernel import free_kernel
from toolbox.classical.sampling import middle

ANALYSED_SIDE = 640
LEAST_LINE = 8.0
"""Minimum length in pixels of a line found in the spectrum: on 260 crops of photos, no other kind of blur was taken
for a line this long. Noise and compression hide lines.
"""
KERNEL_ERROR, KNOWN_SHAPE_ERROR = 0.0025, 0.0015
"""The kernel's error as an equivalent noise level in [0, 1]."""
LEAST_PIXELS = 240 * 240
"""Smaller images have too few edges for a free kernel: it lost 0.5 dB on photos of 240x160, 3 dB on 120x80."""


def tv_motion(pixels: FloatArray, token: ProgressToken) -> Filter:
    """A line estimated from the spectrum, deconvolution with a total-variation prior."""
    blur, _ = find_motion(pixels)
    if blur.is_sharp:
        return unchanged
    kernel, noise = blur.kernel(), noise_sigma(pixels)
    return lambda tile: total_variation_deconvolution(tile, kernel, noise, token.watched_by(None))


def lucy_motion(pixels: FloatArray, token: ProgressToken) -> Filter:
    """A line estimated from the spectrum, Richardson-Lucy deconvolution."""
    blur, _ = find_motion(pixels)
    if blur.is_sharp:
        return unchanged
    kernel = blur.kernel()
    return lambda tile: richardson_lucy(tile, kernel, 12, token.watched_by(None))


def blind_motion(pixels: FloatArray, token: ProgressToken) -> Filter:
    """A free kernel estimated from edges (Cho & Lee 2009; Xu et al. 2013), total-variation prior."""
    if pixels[..., 0].size < LEAST_PIXELS:
        return unchanged
    kernel, noise = _kernel_and_noise(pixels, token)
    return lambda tile: total_variation_deconvolution(tile, kernel, noise, token.watched_by(None))


def blind_deconvolution(pixels: FloatArray, token: ProgressToken) -> Filter:
    """A long line where the spectrum shows one, else a free kernel; total-variation prior.

    The preprocessor of a network. Unlike the Wiener filter it causes no ringing, which the network would keep. It
    smooths less than `blind_motion`, because the network cannot recover details that the prior removes.
    """
    blur, _ = find_motion(pixels)
    if blur.size >= LEAST_LINE:
        kernel, noise = blur.kernel(), noise_sigma(pixels)
        return lambda tile: total_variation_deconvolution(tile, kernel, noise, token.watched_by(None))
    if pixels[..., 0].size < LEAST_PIXELS:
        return unchanged
    kernel, noise = _kernel_and_noise(pixels, token)
    return lambda tile: total_variation_deconvolution(tile, kernel, 0.6 * noise, token.watched_by(None))


def _kernel_and_noise(pixels: FloatArray, token: ProgressToken) -> tuple[FloatArray, float]:
    """The kernel (k, k) and the noise level in [0, 1], which includes the kernel's error."""
    # The centre of a large image is enough, because the blur is assumed to be uniform.
    analysed = luma(middle(pixels, ANALYSED_SIDE))
    kernel, known = free_kernel(analysed, token.watched_by(None))
    doubt = KNOWN_SHAPE_ERROR if known else KERNEL_ERROR
    few = max(1.0, 400 / math.sqrt(pixels[:, :, 0].size))  # fewer pixels show fewer edges
    return kernel, max(noise_sigma(pixels), doubt * few)
