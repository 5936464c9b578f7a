"""Deconvolution with a known kernel; blind experts estimate one and come here."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.control import Control
from imaging.convert import FloatArray

Complex = NDArray[np.complex64]


def total_variation_deconvolution(
    pixels: FloatArray, kernel: FloatArray, noise: float, control: Control
) -> FloatArray:
    """(H, W, 3) deconvolved under a total-variation prior, by half-quadratic splitting (FTVd, Wang et al. 2008).

    `noise` is the deviation of the noise in [0, 1]; the more of it, the smoother the result.
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    margin = 2 * max(kernel.shape)
    shape = tuple(next_fast_len(side + 2 * margin, real=True) for side in pixels.shape[:2])
    transfer = rfft2(_centred(kernel, shape), workers=2)
    difference = [rfft2(_centred(np.array(d, np.float32), shape), workers=2) for d in ([[1, -1]], [[1], [-1]])]
    power = np.abs(transfer) ** 2
    edges = sum(np.abs(d) ** 2 for d in difference)
    fidelity = 1 / max(noise, 0.0015) ** 2 * 0.006
    output = np.empty_like(pixels)
    weights = [4.0 * 2.8**step for step in range(7)]
    for channel in range(3):
        plane = _pad(pixels[:, :, channel], margin, shape)
        data = np.conj(transfer) * rfft2(plane, workers=2)
        latent = plane
        for done, weight in enumerate(weights):
            control.report((channel + done / len(weights)) / 3)
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
    """(H, W, 3) by the Wiener filter with a smoothness prior (Hunt 1973): one division in the Fourier domain."""
    from scipy.fft import irfft2, next_fast_len, rfft2

    margin = 2 * max(kernel.shape)
    shape = tuple(next_fast_len(side + 2 * margin, real=True) for side in pixels.shape[:2])
    transfer = rfft2(_centred(kernel, shape), workers=2)
    laplacian = rfft2(_centred(np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32), shape), workers=2)
    balance = max(noise, 0.002) ** 2 * 60
    inverse = np.conj(transfer) / (np.abs(transfer) ** 2 + balance * (np.abs(laplacian) ** 2 + 0.01))
    output = np.empty_like(pixels)
    for channel in range(3):
        plane = _pad(pixels[:, :, channel], margin, shape)
        latent = irfft2(inverse * rfft2(plane, workers=2), shape, workers=2)
        output[:, :, channel] = latent[margin : margin + pixels.shape[0], margin : margin + pixels.shape[1]]
    return np.clip(output, 0, 1)


def richardson_lucy(pixels: FloatArray, kernel: FloatArray, iterations: int, control: Control) -> FloatArray:
    """Richardson 1972 and Lucy 1974: multiplicative updates that keep the picture positive."""
    latent, mirrored = pixels.copy(), np.ascontiguousarray(kernel[::-1, ::-1])
    for done in range(iterations):
        control.report(done / iterations)
        ratio = (pixels / np.maximum(_filter(latent, kernel), 1e-3)).astype(np.float32)
        latent = np.clip(latent * _filter(ratio, mirrored), 0, 1).astype(np.float32)
    return latent


def _filter(pixels: FloatArray, kernel: FloatArray) -> FloatArray:
    filtered: FloatArray = cv2.filter2D(pixels, -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT)
    return filtered


def _centred(kernel: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The kernel in an array of that shape, its middle at the origin."""
    padded = np.zeros(shape, np.float32)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    return np.roll(padded, (-(kernel.shape[0] // 2), -(kernel.shape[1] // 2)), (0, 1))


def _pad(plane: FloatArray, margin: int, shape: tuple[int, ...]) -> FloatArray:
    """Reflect by `margin`, then fill up to `shape` so that the far edges fade into each other (no ringing there)."""
    height, width = plane.shape
    padded = cv2.copyMakeBorder(
        plane, margin, shape[0] - height - margin, margin, shape[1] - width - margin, cv2.BORDER_REFLECT
    )
    return _faded(_faded(padded, margin).T, margin).T


def _faded(plane: FloatArray, margin: int) -> FloatArray:
    """Blend the first and last `margin` / 2 rows into each other, so that the picture is periodic."""
    reach = max(1, margin // 2)
    mean = (plane[:1] + plane[-1:]) / 2
    ramp = (np.arange(reach, dtype=np.float32) / reach)[:, None]
    faded = plane.copy()
    faded[:reach] = ramp * plane[:reach] + (1 - ramp) * mean
    faded[-reach:] = ramp[::-1] * plane[-reach:] + (1 - ramp[::-1]) * mean
    return np.ascontiguousarray(faded)
