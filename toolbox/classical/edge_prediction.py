"""Blind kernel estimation by edge prediction (Cho & Lee 2009)."""

from __future__ import annotations

import cv2
import numpy as np

from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.kernel_search import coarse_to_fine, tidied

ROUNDS = 5
"""Iterations per scale: predict edges, estimate the kernel, deconvolve."""
NOISE_SHARE = 0.08
"""Kernel weights up to this share of the largest one count as noise."""


def kernel_by_edge_prediction(plane: FloatArray, token: ProgressToken) -> FloatArray:
    """The kernel (k, k) of a blurred image (H, W) in [0, 1]; (1, 1) if the image is too small."""
    kernel = np.ones((1, 1), np.float32)
    latent: FloatArray | None = None
    for blurred, side in coarse_to_fine(plane, token):
        latent = blurred if latent is None else cv2.resize(latent, blurred.shape[::-1], interpolation=cv2.INTER_CUBIC)
        for _ in range(ROUNDS):
            token.check()
            kernel = _estimate_kernel(blurred, _predicted_gradients(latent, side), side)
            latent = _smooth_deconvolution(blurred, kernel)
    return kernel


def _predicted_gradients(latent: FloatArray, side: int) -> list[FloatArray]:
    """Strong gradients of the latent image, sharpened by a bilateral and a shock filter."""
    steep = cv2.bilateralFilter(latent.astype(np.float32), 5, 0.1, 2.0)
    for _ in range(2):
        dx, dy = np.gradient(steep, axis=1), np.gradient(steep, axis=0)
        steep = steep - np.sign(cv2.Laplacian(steep, cv2.CV_32F)) * np.hypot(dx, dy) * 0.5
    gradients = [np.gradient(steep, axis=1), np.gradient(steep, axis=0)]
    strength = np.hypot(*gradients)
    kept = min(0.5, 12 * side**2 / strength.size)
    threshold = np.quantile(strength, 1 - max(kept, 0.05))
    return [np.where(strength >= threshold, gradient, 0).astype(np.float32) for gradient in gradients]


def _estimate_kernel(blurred: FloatArray, predicted: list[FloatArray], side: int) -> FloatArray:
    """The kernel that maps the predicted gradients to the blurred ones: least squares in the Fourier domain."""
    observed = [np.gradient(blurred, axis=1), np.gradient(blurred, axis=0)]
    spectra = [np.fft.rfft2(gradient) for gradient in predicted]
    power = sum(np.abs(spectrum) ** 2 for spectrum in spectra)
    cross = sum(np.conj(s) * np.fft.rfft2(o) for s, o in zip(spectra, observed, strict=True))
    whole = np.fft.irfft2(cross / (power + 0.02 * float(np.mean(power)) + 1e-12), blurred.shape)
    half = side // 2
    return tidied(np.roll(whole, (half, half), (0, 1))[:side, :side].astype(np.float32), NOISE_SHARE)


def _smooth_deconvolution(blurred: FloatArray, kernel: FloatArray) -> FloatArray:
    """Fast deconvolution with a gradient penalty, accurate enough for edge prediction."""
    margin = kernel.shape[0]
    padded = cv2.copyMakeBorder(blurred, margin, margin, margin, margin, cv2.BORDER_REFLECT)
    canvas = np.zeros(padded.shape, np.float32)
    canvas[: kernel.shape[0], : kernel.shape[1]] = kernel
    half = kernel.shape[0] // 2
    transfer = np.fft.rfft2(np.roll(canvas, (-half, -half), (0, 1)))
    fy = np.fft.fftfreq(padded.shape[0])[:, None]
    fx = np.fft.rfftfreq(padded.shape[1])[None]
    penalty = 4 * (np.sin(np.pi * fx) ** 2 + np.sin(np.pi * fy) ** 2)
    spectrum = np.conj(transfer) * np.fft.rfft2(padded) / (np.abs(transfer) ** 2 + 0.02 * penalty + 1e-5)
    latent = np.fft.irfft2(spectrum, padded.shape)[margin:-margin, margin:-margin]
    return np.clip(latent, 0, 1).astype(np.float32)
