"""The kernel of a blur of any shape from few steep edges (Xu, Zheng & Jia 2013; Pan et al. 2014).

A picture with few edges is found that explains what is seen, and the kernel by which it does; and again.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.deconvolution import centred, filled
from toolbox.classical.kernel_search import coarse_to_fine, recentred, tidied

ROUNDS = 8
"""At each scale: edges, kernel, and again."""
EDGES, LEAST_EDGES, FEWER = 4e-3, 1e-4, 1.1
"""What a pixel with an edge costs at first and at last, and by what it is divided from round to round."""
STRICTEST = 100.0
"""How much the picture is held to its few edges in the end. The papers go on to 1e5."""
SMALL = 2.0
"""Weight of the kernel's squares (Pan et al.: gamma)."""
SALIENT = 12
"""Edges that count, for each pixel of the kernel: the strongest ones."""
FAINT = 0.05
"""Part of its largest weight from which a kernel's weights are taken for noise."""
STEPS = 20
"""Of conjugate gradients."""


def kernel_by_l0_gradient(plane: FloatArray, token: ProgressToken) -> FloatArray:
    """(k, k) kernel of a blurred picture (H, W) in [0, 1]; a picture too small for any gives (1, 1)."""
    kernel: FloatArray | None = None
    for blurred, side in coarse_to_fine(plane, token):
        kernel = _short_line(side) if kernel is None else _enlarged(kernel, side)
        cost = EDGES
        for _ in range(ROUNDS):
            token.check()
            kernel = _explain(blurred, _salient(l0_sharpened(blurred, kernel, cost), side), side)
            cost = max(cost / FEWER, LEAST_EDGES)
    return np.ones((1, 1), np.float32) if kernel is None else kernel


def l0_sharpened(blurred: FloatArray, kernel: FloatArray, cost: float) -> FloatArray:
    """What gives `blurred` by the kernel, and has gradients at few pixels; by half-quadratic splitting."""
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
    while weight < STRICTEST:
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


def _salient(latent: FloatArray, side: int) -> list[FloatArray]:
    """The gradients of the latent picture along x and y; the weak ones dropped."""
    gradients = [np.gradient(latent, axis=1), np.gradient(latent, axis=0)]
    strength = np.hypot(*gradients)
    kept = np.clip(SALIENT * side**2 / strength.size, 0.02, 0.5)
    threshold = np.quantile(strength, 1 - kept)
    return [np.where(strength >= threshold, gradient, 0).astype(np.float32) for gradient in gradients]


def _explain(blurred: FloatArray, sharp: list[FloatArray], side: int) -> FloatArray:
    """The (side, side) kernel that turns sharp gradients into blurred ones: least squares, conjugate gradients."""
    from scipy.fft import irfft2, rfft2

    shape, half = blurred.shape, side // 2
    observed = [np.gradient(blurred, axis=1), np.gradient(blurred, axis=0)]
    spectra = [rfft2(gradient, workers=2) for gradient in sharp]
    power = sum(np.abs(spectrum) ** 2 for spectrum in spectra)
    cross = sum(np.conj(one) * rfft2(other, workers=2) for one, other in zip(spectra, observed, strict=True))

    def cut(spectrum: NDArray[np.complex64]) -> FloatArray:
        whole = irfft2(spectrum, shape, workers=2)
        return np.asarray(np.roll(whole, (half, half), (0, 1))[:side, :side], np.float32)

    def again(kernel: FloatArray) -> FloatArray:
        return cut(power * rfft2(centred(kernel, shape), workers=2)) + SMALL * kernel

    kernel = np.maximum(cut(cross / (power + 0.02 * float(np.mean(power)) + 1e-12)), 0)
    error = cut(cross) - again(kernel)
    direction, left = error, float((error**2).sum())
    enough = 1e-10 * left
    for _ in range(STEPS):
        if left <= enough:
            break
        turned = again(direction)
        step = left / float((direction * turned).sum())
        kernel, error = kernel + step * direction, error - step * turned
        before, left = left, float((error**2).sum())
        direction = error + left / before * direction
    return tidied(kernel, FAINT)


def _enlarged(kernel: FloatArray, side: int) -> FloatArray:
    larger = np.clip(cv2.resize(kernel, (side, side), interpolation=cv2.INTER_CUBIC), 0, None)
    return recentred(larger / larger.sum())


def _short_line(side: int) -> FloatArray:
    """Two pixels side by side, to begin with."""
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2, side // 2 - 1 : side // 2 + 1] = 0.5
    return kernel
