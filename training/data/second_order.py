"""The second-order degradations of Real-ESRGAN (Wang et al. 2021, section 3): small pictures from the web."""

from __future__ import annotations

import numpy as np
from scipy.special import j1

from imaging.convert import FloatArray, to_float
from training.data.degradations import convolve, gaussian_noise, jpeg, resized
from training.data.loading import Bytes, Pair

JPEG_QUALITY = (30, 96)


def second_order(patch: Bytes, scale: int, rng: np.random.Generator) -> Pair:
    """Blur, resize, noise and JPEG, twice; at the end 1 / `scale` of the target's size, mostly with ringing.

    Ranges and probabilities are those of the published configuration of Real-ESRGAN x4plus.
    """
    target = to_float(patch)
    height, width = (side // scale for side in target.shape[:2])
    degraded = convolve(target, _kernel(rng, sigma=(0.2, 3.0), sinc=0.1))
    degraded = _rescaled(degraded, rng, target.shape[0], target.shape[1], smallest=0.15, largest=1.5)
    degraded = jpeg(_noisy(degraded, rng, sigma=(1, 30), poisson=(0.05, 3.0)), int(rng.integers(*JPEG_QUALITY)))
    if rng.random() < 0.8:
        degraded = convolve(degraded, _kernel(rng, sigma=(0.2, 1.5), sinc=0.1))
    degraded = _rescaled(degraded, rng, height, width, smallest=0.3, largest=1.2)
    degraded = _noisy(degraded, rng, sigma=(1, 25), poisson=(0.05, 2.5))
    quality = int(rng.integers(*JPEG_QUALITY))
    if rng.random() < 0.5:
        degraded = jpeg(_ringing(resized(degraded, rng, height, width), rng), quality)
    else:
        degraded = _ringing(resized(jpeg(degraded, quality), rng, height, width), rng)
    return degraded.clip(0, 1).astype(np.float32), target


def _rescaled(
    pixels: FloatArray, rng: np.random.Generator, height: int, width: int, smallest: float, largest: float
) -> FloatArray:
    """Resized to a random multiple of (height, width): smaller mostly, sometimes larger."""
    chance = rng.random()
    factor = rng.uniform(smallest, 1) if chance < 0.7 else rng.uniform(1, largest) if chance < 0.9 else 1.0
    return resized(pixels, rng, max(8, round(height * factor)), max(8, round(width * factor)))


def _noisy(
    pixels: FloatArray, rng: np.random.Generator, sigma: tuple[float, float], poisson: tuple[float, float]
) -> FloatArray:
    """Gaussian or Poisson noise, grey in two cases of five."""
    if rng.random() < 0.5:
        noise = gaussian_noise(np.zeros_like(pixels), rng, rng.uniform(*sigma))
    else:
        limited = pixels.clip(0, 1)
        values = 2 ** np.ceil(np.log2(len(np.unique((limited * 255).round()))))
        noise = (rng.poisson(limited * values) / values - limited).astype(np.float32) * rng.uniform(*poisson)
    if rng.random() < 0.4:
        noise = noise[:, :, :1]
    return np.asarray((pixels + noise).clip(0, 1), np.float32)


def _ringing(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    return convolve(pixels, _sinc_kernel(rng)) if rng.random() < 0.8 else pixels


def _kernel(rng: np.random.Generator, sigma: tuple[float, float], sinc: float) -> FloatArray:
    """A Gaussian, generalised Gaussian or plateau kernel, isotropic or not; with probability `sinc` a sinc kernel."""
    if rng.random() < sinc:
        return _sinc_kernel(rng)
    size = 2 * int(rng.integers(3, 11)) + 1
    sigma_x = rng.uniform(*sigma)
    isotropic = rng.random() < 0.6
    sigma_y, angle = (sigma_x, 0.0) if isotropic else (rng.uniform(*sigma), rng.uniform(-np.pi, np.pi))
    y, x = np.mgrid[:size, :size] - size // 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = (along / sigma_x) ** 2 + (across / sigma_y) ** 2
    chance = rng.random()
    if chance < 0.7:
        kernel = np.exp(-0.5 * distance)
    elif chance < 0.85:
        kernel = np.exp(-0.5 * distance ** rng.uniform(0.5, 4))
    else:
        kernel = 1 / (1 + distance ** rng.uniform(1, 2))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _sinc_kernel(rng: np.random.Generator) -> FloatArray:
    """A circular low-pass filter, which rings."""
    size = 2 * int(rng.integers(3, 11)) + 1
    cutoff = rng.uniform(np.pi / 3 if size < 13 else np.pi / 5, np.pi)
    y, x = np.mgrid[:size, :size] - size // 2
    radius = np.hypot(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        kernel = cutoff * j1(cutoff * radius) / (2 * np.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * np.pi)
    return np.asarray(kernel / kernel.sum(), np.float32)
