"""Synthesis of rain in several ways, so that a network generalises to rain that was made differently.

After 9900 steps on `training.data.degradations.add_rain` alone, deraining gained 16 dB on it, and less than before on
compressed rain of other authors.
"""

from __future__ import annotations

import cv2
import numpy as np

from imaging.convert import FloatArray, to_float
from toolbox.classical.streaks import line_kernel
from training.data.degradations import convolve, gaussian_noise, jpeg
from training.data.loading import Bytes, Pair

LARGER = (1.0, 3.0)
"""Range of factors by which the rain is drawn larger and then reduced, as photos often are."""
STORED, NOISY, COMPRESSED = 0.5, 0.5, 0.5
"""Share of patches with noise, and of these the shares with strong noise and with compression; both are in the target
too. A network that was trained with light noise only removed half of strong noise as rain.
"""
DRY = 0.15
"""Share of patches without rain."""


def rain_pair(patch: Bytes, rng: np.random.Generator) -> Pair:
    """A patch with rain and the same without; noise and compression are in both."""
    target = to_float(patch)
    light = rain_streaks(target.shape[0], target.shape[1], rng)[:, :, None] * np.float32(rng.random() >= DRY)
    # 0 adds light, 0.4 is the value of `training.data.degradations.add_rain`, 1 covers the background.
    cover, colour = float(rng.uniform(0, 1)), float(rng.uniform(0.7, 1))
    rainy = np.clip(target + light * (colour - cover * target), 0, 1).astype(np.float32)
    if rng.random() >= STORED:
        return rainy, target
    sigma = float(rng.uniform(8, 50) if rng.random() < NOISY else rng.uniform(0, 8))
    quality, seed = int(rng.integers(40, 96)) if rng.random() < COMPRESSED else None, int(rng.integers(1 << 30))
    noisy = [
        np.clip(gaussian_noise(pixels, np.random.default_rng(seed), sigma), 0, 1).astype(np.float32)
        for pixels in (rainy, target)
    ]
    stored = [jpeg(pixels, quality) if quality else pixels for pixels in noisy]
    return stored[0], stored[1]


def rain_streaks(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """Opacity of random streaks, (height, width) in [0, 1]."""
    larger = rng.uniform(*LARGER)
    size = round(height * larger), round(width * larger)
    light = (_blurred_drops if rng.random() < 0.5 else _lines)(*size, rng)
    light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.3, 1.5)))
    small = np.asarray(cv2.resize(light, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    return (small * np.float32(rng.uniform(0.5, 1.3))).clip(0, 0.95)


def _blurred_drops(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """Drops with motion blur."""
    drops = (rng.random((height, width)) < rng.uniform(3e-4, 7e-3)).astype(np.float32)
    drops *= rng.uniform(0.3, 1.2, (height, width)).astype(np.float32)
    length, angle = float(rng.uniform(8, 60)), float(rng.uniform(-35, 35))
    return convolve(drops, line_kernel(length, 90 + angle, taper=float(rng.uniform(0.1, 1))) * length)


def _lines(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """Lines with sharp ends, of several lengths and widths."""
    light = np.zeros((height, width), np.float32)
    angle, longest, widest = rng.uniform(-35, 35), rng.uniform(10, 80), int(rng.integers(1, 4))
    for _ in range(round(height * width * rng.uniform(2e-4, 2e-3))):
        start, length = rng.uniform((0, 0), (width, height)), longest * rng.uniform(0.4, 1)
        turn = np.radians(angle + rng.normal(0, 2))
        end = start + length * np.array([np.sin(turn), np.cos(turn)])
        first, last = ((int(x), int(y)) for x, y in (start, end))
        cv2.line(light, first, last, float(rng.uniform(0.2, 1)), int(rng.integers(1, widest + 1)), cv2.LINE_AA)
    return light
