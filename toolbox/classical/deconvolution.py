"""Non-blind deconvolution, used with estimated kernels."""

from __future__ import annotations

import cv2
import numpy as np

from imaging.convert import FloatArray
from imaging.progress import ProgressToken

BORDER_NOISE = 0.08
"""Noise assumed for the smooth estimate that extends a blurred image beyond its borders."""


def total_variation_deconvolution(
    pixels: FloatArray, kernel: FloatArray, noise: float, token: ProgressToken
) -> FloatArray:
    """Deconvolve (H, W, 3) with a total-variation prior by half-quadratic splitting (FTVd, Wang et al. 2008).

    `noise` is the standard deviation of the noise in [0, 1]; the larger, the smoother the result.
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    margin = 2 * max(kernel.shape)
    extended = _extended(pixels, kernel, margin)
    shape = tuple(next_fast_len(side, real=True) for side in extended.shape[:2])
    transfer = rfft2(centred(kernel, shape), workers=2)
    difference = [rfft2(centred(np.array(d, np.float32), shape), workers=2) for d in ([[1, -1]], [[1], [-1]])]
    power = np.abs(transfer) ** 2
    edges = sum(np.abs(d) ** 2 for d in difference)
    fidelity = 1 / max(noise, 0.0015) ** 2 * 0.006
    output = np.empty_like(pixels)
    weights = [4.0 * 2.8**step for step in range(7)]
    for channel in range(3):
        plane = filled(extended[:, :, channel], margin, shape)
        data = np.conj(transfer) * rfft2(plane, workers=2)
        latent = plane
        for done, weight in enumerate(weights):
            token.report((channel + done / len(weights)) / 3)
            spectrum = rfft2(latent, workers=2)
            numerator = fidelity * data
            gradients = [irfft2(d * spectrum, shape, workers=2) for d in difference]
            length = np.sqrt(sum(g**2 for g in gradients)) + 1e-8
            shrunk = np.maximum(1 - 1 / (weight * length), 0)
            for d, gradient in zip(difference, gradients, strict=True):
                numerator = numerator + weight * np.conj(d) * rfft2(shrunk * gradient, workers=2)
            latent = irfft2(numerator / (fidelity * power + weight * edges + 1e-8), shape, workers=2)
        output[:, :, channel] = latent[margin : margin + pixels.shape[0], margin : margin + pixels.shape[1]]
    return np.clip(output, 0, 1)


def wiener_deconvolution(pixels: FloatArray, kernel: FloatArray, noise: float) -> FloatArray:
    """Deconvolve (H, W, 3) by the Wiener filter with a smoothness prior (Hunt 1973)."""
    margin = 2 * max(kernel.shape)
    return _within(_wiener(_extended(pixels, kernel, margin), kernel, noise, margin), margin)


def richardson_lucy(pixels: FloatArray, kernel: FloatArray, iterations: int, token: ProgressToken) -> FloatArray:
    """Richardson-Lucy deconvolution (1972, 1974): multiplicative updates, which keep the image positive."""
    latent, mirrored = pixels.copy(), np.ascontiguousarray(kernel[::-1, ::-1])
    for done in range(iterations):
        token.report(done / iterations)
        ratio = (pixels / np.maximum(_filter(latent, kernel), 1e-3)).astype(np.float32)
        latent = np.clip(latent * _filter(ratio, mirrored), 0, 1).astype(np.float32)
    return latent


def _filter(pixels: FloatArray, kernel: FloatArray) -> FloatArray:
    filtered: FloatArray = cv2.filter2D(pixels, -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT)
    return filtered


def centred(kernel: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The kernel zero-padded to `shape`, with its centre at the origin."""
    padded = np.zeros(shape, np.float32)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    return np.roll(padded, (-(kernel.shape[0] // 2), -(kernel.shape[1] // 2)), (0, 1))


def _extended(pixels: FloatArray, kernel: FloatArray, margin: int) -> FloatArray:
    """The image extended to (H + 2 margin, W + 2 margin, 3): outside, a reflected sharp estimate, blurred again.

    Reflecting the blurred image itself contradicts the kernel and causes ringing: on photos that were cropped after
    blurring, this gains 1.5 dB for straight lines and 1.0 dB for disks.
    """
    smooth = _within(_wiener(_reflected(pixels, margin), kernel, BORDER_NOISE, margin), margin)
    extended = _filter(_reflected(smooth, margin), kernel)
    extended[margin:-margin, margin:-margin] = pixels
    return extended


def _wiener(padded: FloatArray, kernel: FloatArray, noise: float, margin: int) -> FloatArray:
    """The Wiener filter of an image (H, W, 3), inaccurate in the outer `margin` pixels."""
    from scipy.fft import irfft2, next_fast_len, rfft2

    height, width = padded.shape[:2]
    shape = (next_fast_len(height, real=True), next_fast_len(width, real=True))
    transfer = rfft2(centred(kernel, shape), workers=2)
    laplacian = rfft2(centred(np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32), shape), workers=2)
    balance = max(noise, 0.002) ** 2 * 60
    inverse = np.conj(transfer) / (np.abs(transfer) ** 2 + balance * (np.abs(laplacian) ** 2 + 0.01))
    output = np.empty_like(padded)
    for channel in range(3):
        plane = filled(padded[:, :, channel], margin, shape)
        output[:, :, channel] = irfft2(inverse * rfft2(plane, workers=2), shape, workers=2)[:height, :width]
    return np.clip(output, 0, 1)


def _reflected(pixels: FloatArray, margin: int) -> FloatArray:
    padded: FloatArray = cv2.copyMakeBorder(pixels, margin, margin, margin, margin, cv2.BORDER_REFLECT)
    return padded


def _within(padded: FloatArray, margin: int) -> FloatArray:
    return padded[margin:-margin, margin:-margin]


def filled(plane: FloatArray, margin: int, shape: tuple[int, ...]) -> FloatArray:
    """(H, W) padded to `shape`, with opposite edges blended within half the margin to avoid ringing."""
    height, width = plane.shape
    whole = cv2.copyMakeBorder(plane, 0, shape[0] - height, 0, shape[1] - width, cv2.BORDER_REFLECT)
    return _faded(_faded(whole, margin).T, margin).T


def _faded(plane: FloatArray, margin: int) -> FloatArray:
    """Blend the first and last `margin` / 2 rows, so that the image is periodic."""
    reach = max(1, margin // 2)
    mean = (plane[:1] + plane[-1:]) / 2
    ramp = (np.arange(reach, dtype=np.float32) / reach)[:, None]
    faded = plane.copy()
    faded[:reach] = ramp * plane[:reach] + (1 - ramp) * mean
    faded[-reach:] = ramp[::-1] * plane[-reach:] + (1 - ramp[::-1]) * mean
    return np.ascontiguousarray(faded)
