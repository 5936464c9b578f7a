"""Classical motion deblurring: estimate the kernel, then deconvolve."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imaging.control import Control
from imaging.convert import FloatArray
from toolbox.classical.blur_kernel import find_motion
from toolbox.classical.deconvolution import richardson_lucy, total_variation_deconvolution, wiener_deconvolution
from toolbox.classical.filters import Filter, luma, noise_sigma, unchanged
from toolbox.classical.sampling import middle
from toolbox.classical.streaks import with_its_tail

KERNEL_SIDE = 35
ANALYSED_SIDE = 640
LEAST_LINE = 8.0
"""From which length in pixels a line read from the spectrum is one: on 260 pieces of photos nothing else was taken
for one so long. Noise and compression hide it.
"""
LEAST_PIXELS = 240 * 240
"""Fewer show too few edges for a kernel of any shape: 0.5 dB was lost on photos of 240x160, 3 dB on 120x80."""


def line_total_variation(pixels: FloatArray, control: Control) -> Filter:
    """A straight line read from the spectrum, total-variation prior."""
    blur, _ = find_motion(pixels)
    if blur.is_sharp:
        return unchanged
    kernel, noise = blur.kernel(), noise_sigma(pixels)
    return lambda tile: total_variation_deconvolution(tile, kernel, noise, control.watched_by(None))


def line_lucy(pixels: FloatArray, control: Control) -> Filter:
    """A straight line read from the spectrum, Richardson-Lucy."""
    blur, _ = find_motion(pixels)
    if blur.is_sharp:
        return unchanged
    kernel = blur.kernel()
    return lambda tile: richardson_lucy(tile, kernel, 12, control.watched_by(None))


def blind_total_variation(pixels: FloatArray, control: Control) -> Filter:
    """A free kernel, estimated from predicted sharp edges (Cho & Lee 2009), total-variation prior."""
    if pixels[..., 0].size < LEAST_PIXELS:
        return unchanged
    kernel, noise = _kernel_and_noise(pixels, control)
    return lambda tile: total_variation_deconvolution(tile, kernel, noise, control.watched_by(None))


def blind_deconvolution(pixels: FloatArray, control: Control) -> Filter:
    """A long straight line where the spectrum shows one (total-variation prior), else a free kernel (Wiener filter).

    The zeros of a straight line's spectrum leave a Wiener filter 2.4 dB behind the prior; all else that the prior
    smooths away is lost to the network that finishes this.
    """
    blur, _ = find_motion(pixels)
    if blur.size >= LEAST_LINE:
        kernel, noise = blur.kernel(), noise_sigma(pixels)
        return lambda tile: total_variation_deconvolution(tile, kernel, noise, control.watched_by(None))
    if pixels[..., 0].size < LEAST_PIXELS:
        return unchanged
    kernel, noise = _kernel_and_noise(pixels, control)
    # A Wiener filter trusts a kernel more than a total-variation prior does: twice the doubt.
    return lambda tile: wiener_deconvolution(tile, kernel, 2 * noise)


def _kernel_and_noise(pixels: FloatArray, control: Control) -> tuple[FloatArray, float]:
    """Kernel (k, k) and deviation of the noise in [0, 1], no less than what the kernel is in doubt by."""
    # The middle of a large picture; the blur is taken to be the same everywhere.
    analysed = luma(middle(pixels, ANALYSED_SIDE))
    kernel = with_its_tail(free_kernel(analysed, control.watched_by(None)))
    doubt = 0.0025 * max(1.0, 400 / math.sqrt(pixels[:, :, 0].size))  # few pixels show few edges
    return kernel, max(noise_sigma(pixels), doubt)


def free_kernel(plane: FloatArray, control: Control) -> FloatArray:
    """(k, k) kernel of any shape, coarse to fine: sharpen edges, explain the blurred gradients by them, deconvolve
    and begin again.
    """
    scales = [0.25, 0.354, 0.5, 0.707, 1.0]
    latent, kernel = None, None
    for done, scale in enumerate(scales):
        control.report(done / len(scales))
        blurred = cv2.resize(plane, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        side = max(3, round(KERNEL_SIDE * scale) | 1)
        if min(blurred.shape) < 2 * side:
            continue
        latent = blurred if latent is None else cv2.resize(latent, blurred.shape[::-1], interpolation=cv2.INTER_CUBIC)
        for _ in range(5):
            kernel = _explain(blurred, _predicted(latent, side), side)
            latent = _smooth_deconvolution(blurred, kernel)
    return np.ones((1, 1), np.float32) if kernel is None else kernel


def _predicted(latent: FloatArray, side: int) -> list[FloatArray]:
    """Gradients of the latent picture, its edges made steep (bilateral and shock filter); the weak ones dropped."""
    steep = cv2.bilateralFilter(latent.astype(np.float32), 5, 0.1, 2.0)
    for _ in range(2):
        dx, dy = np.gradient(steep, axis=1), np.gradient(steep, axis=0)
        steep = steep - np.sign(cv2.Laplacian(steep, cv2.CV_32F)) * np.hypot(dx, dy) * 0.5
    gradients = [np.gradient(steep, axis=1), np.gradient(steep, axis=0)]
    strength = np.hypot(*gradients)
    kept = min(0.5, 12 * side**2 / strength.size)
    threshold = np.quantile(strength, 1 - max(kept, 0.05))
    return [np.where(strength >= threshold, gradient, 0).astype(np.float32) for gradient in gradients]


def _explain(blurred: FloatArray, predicted: list[FloatArray], side: int) -> FloatArray:
    """The kernel that turns predicted gradients into the blurred ones, least squares in the Fourier domain."""
    observed = [np.gradient(blurred, axis=1), np.gradient(blurred, axis=0)]
    spectra = [np.fft.rfft2(gradient) for gradient in predicted]
    power = sum(np.abs(spectrum) ** 2 for spectrum in spectra)
    cross = sum(np.conj(s) * np.fft.rfft2(o) for s, o in zip(spectra, observed, strict=True))
    kernel = np.fft.irfft2(cross / (power + 0.02 * float(np.mean(power))), blurred.shape)
    half = side // 2
    kernel = np.roll(kernel, (half, half), (0, 1))[:side, :side]
    body = _largest_piece(np.where(kernel > kernel.max() * 0.08, kernel, 0).astype(np.float32))
    return _recentred(body / np.float32(max(float(body.sum()), 1e-8)))


def _largest_piece(kernel: FloatArray) -> FloatArray:
    """Drop specks that do not hang together with the kernel's main body."""
    _, labels = cv2.connectedComponents((kernel > 0).astype(np.uint8), connectivity=8)
    weights = np.bincount(labels.ravel(), weights=kernel.ravel())
    keep = weights >= 0.1 * weights.max()
    keep[0] = False
    return np.where(keep[labels], kernel, 0).astype(np.float32)


def _recentred(kernel: FloatArray) -> FloatArray:
    """The centre of mass in the middle, so that the picture does not move."""
    half = (kernel.shape[0] - 1) / 2
    rows, columns = np.indices(kernel.shape)
    move = np.array([[1, 0, half - (kernel * columns).sum()], [0, 1, half - (kernel * rows).sum()]], np.float32)
    moved: FloatArray = np.clip(cv2.warpAffine(kernel, move, kernel.shape[::-1], flags=cv2.INTER_LINEAR), 0, None)
    return moved / max(float(moved.sum()), 1e-8)


def _smooth_deconvolution(blurred: FloatArray, kernel: FloatArray) -> FloatArray:
    """One division in the Fourier domain with a gradient penalty: fast, and good enough to find edges in."""
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
