"""Effects of film and paper: grain, dust, paper texture, half-tone screens; on display sRGB."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imaging.convert import FloatArray


def film_grain(srgb: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """Grain of deviation `strength` at mid-tones, correlated over about a pixel; weaker near black and white.

    Colour film has three layers, half correlated; in grey pictures all channels get the same grain.
    """
    height, width = srgb.shape[:2]
    sigma = float(rng.uniform(0.4, 1.3))
    shared = _correlated(height, width, sigma, rng)
    grey = bool((srgb.max(2) - srgb.min(2)).max() < 1e-6)
    grain = np.stack([shared] * 3, 2)
    if not grey:
        layers = np.stack([_correlated(height, width, sigma, rng) for _ in range(3)], 2)
        grain = np.float32(math.sqrt(0.5)) * (grain + layers)
    tone = srgb if not grey else srgb[:, :, :1]
    density = np.sqrt(4 * tone * (1 - tone)).clip(0.25, 1)
    return np.asarray((srgb + strength * density * grain).clip(0, 1), np.float32)


def dust(srgb: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Specks and hairs, bright or dark."""
    height, width = srgb.shape[:2]
    mask = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        if rng.random() < 0.6:
            cv2.circle(mask, (x, y), int(rng.integers(1, 3)), 1.0, -1, cv2.LINE_AA)
        else:
            turns = np.cumsum(rng.normal(0, 0.4, 12)) + rng.uniform(0, 2 * math.pi)
            points = np.array([x, y]) + np.cumsum(2 * np.stack([np.cos(turns), np.sin(turns)], 1), 0)
            cv2.polylines(mask, [points.astype(np.int32)], False, 1.0, 1, cv2.LINE_AA)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.6)[:, :, None]
    return np.asarray(srgb + mask * (np.float32(rng.random() < 0.7) - srgb), np.float32)


def paper(srgb: FloatArray, strength: float, rng: np.random.Generator) -> FloatArray:
    """A photographed or scanned print: paper texture, raised black, lowered white."""
    texture = _correlated(srgb.shape[0], srgb.shape[1], float(rng.uniform(0.7, 2.5)), rng)[:, :, None]
    black, white = rng.uniform(0, 0.08), rng.uniform(0.92, 1)
    return np.asarray(((black + (white - black) * srgb) * (1 + strength * texture)).clip(0, 1), np.float32)


def half_tone(srgb: FloatArray, period_px: float, rng: np.random.Generator) -> FloatArray:
    """Dots of a printing screen, one angle for each ink (15, 75, 0 degrees), softened by the scan."""
    y, x = np.mgrid[: srgb.shape[0], : srgb.shape[1]].astype(np.float32) + np.float32(rng.uniform(0, period_px))
    planes = []
    for plane, angle in zip(np.moveaxis(srgb, 2, 0), np.radians([15, 75, 0]), strict=True):
        u, v = (x * math.cos(angle) + y * math.sin(angle)), (y * math.cos(angle) - x * math.sin(angle))
        wave = np.cos(2 * math.pi * u / period_px) + np.cos(2 * math.pi * v / period_px)
        planes.append(((plane - 0.5) * 4 + wave).clip(-0.5, 0.5) + 0.5)
    dots = cv2.GaussianBlur(np.stack(planes, 2), (0, 0), 0.35 * period_px)
    return np.asarray(dots.clip(0, 1), np.float32)


def _correlated(height: int, width: int, sigma: float, rng: np.random.Generator) -> FloatArray:
    """Noise of deviation 1, blurred by a Gaussian of `sigma` pixels."""
    noise = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (0, 0), sigma)
    return np.asarray(noise / max(float(noise.std()), 1e-6), np.float32)
