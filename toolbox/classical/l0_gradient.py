"""Blind kernel estimation with an L0 gradient prior (Xu, Zheng & Jia 2013; Pan et al. 2014).

Alternates between a latent image with few edges, given the kernel, and the kernel, given the latent image.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.deconvolution import centred, filled
from toolbox.classical.kernel_search import coarse_to_fine, recentred, tidied

ROUNDS = 8
"""Iterations per scale: latent image, then kernel."""
EDGE_COST, LEAST_EDGE_COST, EDGE_COST_DIVISOR = 4e-3, 1e-4, 1.1
"""Cost of an edge pixel in the first iteration, its minimum, and its divisor per iteration."""
MAX_WEIGHT = 100.0
"""Final weight of the half-quadratic splitting; 1e5 in the papers."""
KERNEL_WEIGHT = 2.0
"""Weight of the squared kernel (gamma of Pan et al.)."""
EDGES_PER_KERNEL_PIXEL = 12
"""Number of edge pixels used per pixel of the kernel; the strongest are used."""
NOISE_SHARE = 0.05
"""Kernel weights up to this share of the largest one count as noise."""
STEPS = 20
"""Maximum steps of conjugate gradients."""


def kernel_by_l0_gradient(plane: FloatArray, token: ProgressToken) -> FloatArray:
    """The kernel (k, k) of a blurred image (H, W) in [0, 1]; (1, 1) if the image is too small."""
    kernel: FloatArray | None = None
    for blurred, side in coarse_to_fine(plane, token):
        kernel = _initial_kernel(side) if kernel is None else _enlarged(kernel, side)
        cost = EDGE_COST
        for _ in range(ROUNDS):
            token.check()
            kernel = _estimate_kernel(blurred, _strong_gradients(l0_sharpened(blurred, kernel, cost), side), side)
            cost = max(cost / EDGE_COST_DIVISOR, LEAST_EDGE_COST)
    return np.ones((1, 1), np.float32) if kernel is None else kernel


def l0_sharpened(blurred: FloatArray, kernel: FloatArray, cost: float) -> FloatArray:
    """The latent image: deconvolution of `blurred` with an L0 gradient prior, by half-quadratic splitting."""
    from scipy.fft import irfft2, next_fast_len, rfft2

    margin = len(kernel)
    padded = cv2.copyMakeBorder(blurred, margin, margin, margin, margin, cv2.BORDER_REFLECT)
    shape = (next_fast_len(padded.shape[0], real=True), next_fast_len(padded.shape[1], real=True))
    latent = filled(padded, margin, shape)
    transfer = rfft2(centred(kernel, shape), workers=2)
    data, power = np.conj(transfer) * rfft2(latent, workers=2), np.abs(transfer) ** 2
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    of_gradients = (4 * (np.sin(np.pi * fx) ** 2 + np.sin(np.pi * fy) ** 2)).astype(np.float32)
    weight = 2 * cost
    while weight < MAX_WEIGHT:
        dx, dy = np.roll(latent, -1, 1) - latent, np.roll(latent, -1, 0) - latent
        kept = dx * dx + dy * dy >= cost / weight
        dx, dy = dx * kept, dy * kept
        back = np.roll(dx, 1, 1) - dx + np.roll(dy, 1, 0) - dy
        latent = irfft2(
            (data + weight * rfft2(back, workers=2)) / (power + weight * of_gradients + 1e-12), shape, workers=2
        )
        weight *= 2
    height, width = blurred.shape
    return np.clip(latent[margin : margin + height, margin : margin + width], 0, 1)


def _strong_gradients(latent: FloatArray, side: int) -> list[FloatArray]:
    """The strongest gradients of the latent image along x and y; the others are 0."""
    gradients = [np.gradient(latent, axis=1), np.gradient(latent, axis=0)]
    strength = np.hypot(*gradients)
    kept = np.clip(EDGES_PER_KERNEL_PIXEL * side**2 / strength.size, 0.02, 0.5)
    threshold = np.quantile(strength, 1 - kept)
    return [np.where(strength >= threshold, gradient, 0).astype(np.float32) for gradient in gradients]


def _estimate_kernel(blurred: FloatArray, sharp: list[FloatArray], side: int) -> FloatArray:
    """The kernel (side, side) that maps sharp gradients to blurred ones, by regularised least squares."""
    from scipy.fft import irfft2, rfft2

    shape, half = blurred.shape, side // 2
    observed = [np.gradient(blurred, axis=1), np.gradient(blurred, axis=0)]
    spectra = [rfft2(gradient, workers=2) for gradient in sharp]
    power = sum(np.abs(spectrum) ** 2 for spectrum in spectra)
    cross = sum(np.conj(one) * rfft2(other, workers=2) for one, other in zip(spectra, observed, strict=True))

    def crop(spectrum: NDArray[np.complex64]) -> FloatArray:
        whole = irfft2(spectrum, shape, workers=2)
        return np.asarray(np.roll(whole, (half, half), (0, 1))[:side, :side], np.float32)

    def normal_matrix(kernel: FloatArray) -> FloatArray:
        return crop(power * rfft2(centred(kernel, shape), workers=2)) + KERNEL_WEIGHT * kernel

    start = np.maximum(crop(cross / (power + 0.02 * float(np.mean(power)) + 1e-12)), 0)
    return tidied(_conjugate_gradients(normal_matrix, crop(cross), start), NOISE_SHARE)


def _conjugate_gradients(
    matrix: Callable[[FloatArray], FloatArray], target: FloatArray, solution: FloatArray
) -> FloatArray:
    """Solve matrix(x) = target from the initial `solution`."""
    residual = target - matrix(solution)
    direction, squared = residual, float((residual**2).sum())
    tolerance = 1e-10 * squared
    for _ in range(STEPS):
        if squared <= tolerance:
            break
        product = matrix(direction)
        step = squared / float((direction * product).sum())
        solution, residual = solution + step * direction, residual - step * product
        before, squared = squared, float((residual**2).sum())
        direction = residual + squared / before * direction
    return solution


def _enlarged(kernel: FloatArray, side: int) -> FloatArray:
    larger = np.clip(cv2.resize(kernel, (side, side), interpolation=cv2.INTER_CUBIC), 0, None)
    return recentred(larger / larger.sum())


def _initial_kernel(side: int) -> FloatArray:
    """The initial kernel: two adjacent pixels."""
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2, side // 2 - 1 : side // 2 + 1] = 0.5
    return kernel
