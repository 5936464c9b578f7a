"""Classical denoising: estimate the noise level of the whole image, then filter tile by tile."""

from __future__ import annotations

import numpy as np

from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.filters import Filter, noise_sigma, unchanged

NOTHING = 0.5 / 255
"""Noise below this level is rounding error."""
SYM4_SIDE = 14
"""Smaller images are shorter than the support of the wavelet sym4."""


def nlm_denoise(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Non-local means (Buades, Coll & Morel 2005), the fast version of scikit-image."""
    from skimage.restoration import denoise_nl_means

    sigma = noise_sigma(pixels)
    if sigma < NOTHING:
        return unchanged
    return lambda tile: denoise_nl_means(
        tile, patch_size=5, patch_distance=7, h=0.75 * sigma, sigma=sigma, fast_mode=True, channel_axis=-1
    )


def wavelet_denoise(pixels: FloatArray, token: ProgressToken) -> Filter:
    """BayesShrink (Chang, Yu & Vetterli 2000) in YCbCr, averaged over shifts (Coifman & Donoho 1995)."""
    from skimage.restoration import denoise_wavelet

    sigma = noise_sigma(pixels)
    if sigma < NOTHING:
        return unchanged
    wavelet = "sym4" if min(pixels.shape[:2]) >= SYM4_SIDE else "haar"
    shifts = [(dy, dx) for dy in (0, 1, 3) for dx in (0, 2, 5)]

    def filtered(tile: FloatArray) -> FloatArray:
        total = np.zeros_like(tile)
        for shift in shifts:
            token.check()
            moved = denoise_wavelet(
                np.roll(tile, shift, (0, 1)), convert2ycbcr=True, channel_axis=-1, wavelet=wavelet, rescale_sigma=True
            )
            total += np.roll(moved, (-shift[0], -shift[1]), (0, 1)).astype(np.float32)
        return np.clip(total / len(shifts), 0, 1)

    return filtered


def tv_denoise(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Total-variation denoising (Rudin, Osher & Fatemi 1992) by Chambolle's projection algorithm."""
    from skimage.restoration import denoise_tv_chambolle

    sigma = noise_sigma(pixels)
    if sigma < NOTHING:
        return unchanged
    return lambda tile: denoise_tv_chambolle(tile, weight=1.1 * sigma, max_num_iter=60, channel_axis=-1)
