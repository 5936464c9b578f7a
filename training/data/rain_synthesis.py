"""Rain drawn in many ways: a network that knows one way alone learns it by heart, and leaves other rain where it is.

After 9900 steps on `training.data.degradations.rain` alone deraining gained 16 dB on it, and less than before on rain
that was drawn by others and compressed.
"""

from __future__ import annotations

import cv2
import numpy as np

from imaging.convert import FloatArray, to_float
from toolbox.classical.streaks import line_kernel
from training.data.degradations import convolve, gaussian_noise, jpeg
from training.data.loading import Bytes, Pair

LARGER = (1.0, 3.0)
"""Times: rain falls on the scene, and a picture of it is often made smaller."""
STORED, NOISY, COMPRESSED = 0.5, 0.5, 0.5
"""Share of pictures that are noisy as well, and of these the shares with strong noise and with compression after it;
that is not to be taken away. A network that had seen light noise alone took half of the strong for rain.
"""
DRY = 0.15
"""Share of pictures in which it has not rained."""


def rain_pair(patch: Bytes, rng: np.random.Generator) -> Pair:
    """A patch in the rain, and the same without: noise and compression are in both."""
    target = to_float(patch)
    light = rain_streaks(target.shape[0], target.shape[1], rng)[:, :, None] * np.float32(rng.random() >= DRY)
    # 0 adds light, 0.4 is what `training.data.degradations.rain` does, 1 covers what is behind.
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
    """(height, width) in [0, 1]."""
    larger = rng.uniform(*LARGER)
    size = round(height * larger), round(width * larger)
    light = (_fallen if rng.random() < 0.5 else _drawn)(*size, rng)
    light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.3, 1.5)))
    small = np.asarray(cv2.resize(light, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    return (small * np.float32(rng.uniform(0.5, 1.3))).clip(0, 0.95)


def _fallen(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """Drops, blurred along their fall."""
    drops = (rng.random((height, width)) < rng.uniform(3e-4, 7e-3)).astype(np.float32)
    drops *= rng.uniform(0.3, 1.2, (height, width)).astype(np.float32)
    length, angle = float(rng.uniform(8, 60)), float(rng.uniform(-35, 35))
    return convolve(drops, line_kernel(length, 90 + angle, taper=float(rng.uniform(0.1, 1))) * length)


def _drawn(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """Lines that begin and end sharply, of several lengths and widths."""
    light = np.zeros((height, width), np.float32)
    angle, longest, widest = rng.uniform(-35, 35), rng.uniform(10, 80), int(rng.integers(1, 4))
    for _ in range(round(height * width * rng.uniform(2e-4, 2e-3))):
        start, length = rng.uniform((0, 0), (width, height)), longest * rng.uniform(0.4, 1)
        turn = np.radians(angle + rng.normal(0, 2))
        end = start + length * np.array([np.sin(turn), np.cos(turn)])
        first, last = ((int(x), int(y)) for x, y in (start, end))
        cv2.line(light, first, last, float(rng.uniform(0.2, 1)), int(rng.integers(1, widest + 1)), cv2.LINE_AA)
    return light
