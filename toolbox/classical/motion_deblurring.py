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
"""From which length in pixels a line read from the spectrum is one: on 260 pieces of photos nothing else was taken
for one so long. Noise and compression hide it.
"""
DOUBT, DOUBT_OF_KNOWN_SHAPE = 0.0025, 0.0015
"""Noise in [0, 1] that an error of the kernel is as bad as."""
LEAST_PIXELS = 240 * 240
"""Fewer show too few edges for a kernel of any shape: 0.5 dB was lost on photos of 240x160, 3 dB on 120x80."""


def tv_motion(pixels: FloatArray, token: ProgressToken) -> Filter:
    """A straight line read from the spectrum, total-variation prior."""
    blur, _ = find_motion(pixels)
    if blur.is_sharp:
        return unchanged
    kernel, noise = blur.kernel(), noise_sigma(pixels)
    return lambda tile: total_variation_deconvolution(tile, kernel, noise, token.watched_by(None))


def lucy_motion(pixels: FloatArray, token: ProgressToken) -> Filter:
    """A straight line read from the spectrum, Richardson-Lucy."""
    blur, _ = find_motion(pixels)
    if blur.is_sharp:
        return unchanged
    kernel = blur.kernel()
    return lambda tile: richardson_lucy(tile, kernel, 12, token.watched_by(None))


def blind_motion(pixels: FloatArray, token: ProgressToken) -> Filter:
    """A free kernel, estimated from steep edges (Cho & Lee 2009; Xu et al. 2013), total-variation prior."""
    if pixels[..., 0].size < LEAST_PIXELS:
        return unchanged
    kernel, noise = _kernel_and_noise(pixels, token)
    return lambda tile: total_variation_deconvolution(tile, kernel, noise, token.watched_by(None))


def blind_deconvolution(pixels: FloatArray, token: ProgressToken) -> Filter:
    """A long straight line where the spectrum shows one, else a free kernel; total-variation prior.

    Unlike a Wiener filter it leaves no ripples, which the network that finishes this would keep; and less smooth than
    `blind_motion`, since what the prior takes away is lost to the network.
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
    """Kernel (k, k) and deviation of the noise in [0, 1], no less than what the kernel is in doubt by."""
    # The middle of a large picture; the blur is taken to be the same everywhere.
    analysed = luma(middle(pixels, ANALYSED_SIDE))
    kernel, known = free_kernel(analysed, token.watched_by(None))
    doubt = DOUBT_OF_KNOWN_SHAPE if known else DOUBT
    few = max(1.0, 400 / math.sqrt(pixels[:, :, 0].size))  # pixels show few edges
    return kernel, max(noise_sigma(pixels), doubt * few)
