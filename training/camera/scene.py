"""Haze, rain and light sources brighter than white between subject and lens, in linear light."""

from __future__ import annotations

import cv2
import numpy as np

from imaging.convert import FloatArray
from training.data.degradations import estimated_depth, random_depth
from training.data.rain_synthesis import rain_streaks

LIGHT_SOURCE = 0.92
"""Minimum display value of all three channels of a light source, which may be brighter than white."""


def add_haze(linear: FloatArray, srgb: FloatArray, beta: float, rng: np.random.Generator) -> FloatArray:
    """Scattering in linear light, I = J t + A (1 - t), t = exp(-beta depth); `srgb` gives the estimated depth."""
    height, width = linear.shape[:2]
    depth = estimated_depth(srgb) if rng.random() < 0.5 else random_depth(height, width, rng)
    transmission = np.exp(-beta * depth)[:, :, None].astype(np.float32)
    airlight = (rng.uniform(0.5, 1.0) + rng.uniform(-0.04, 0.04, 3)).clip(0, 1).astype(np.float32)
    white = linear.reshape(-1, 3).max(0)
    return np.asarray(linear * transmission + airlight * white * (1 - transmission), np.float32)


def add_rain(linear: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Streaks that add light and partly cover the background."""
    streaks = rain_streaks(linear.shape[0], linear.shape[1], rng)[:, :, None]
    white = linear.reshape(-1, 3).max(0)
    light = rng.uniform(0.25, 0.9)
    return np.asarray(linear + streaks * (light * white - rng.uniform(0.2, 1.0) * light * linear), np.float32)


def brighten_light_sources(raw: FloatArray, srgb: FloatArray, factor: float) -> FloatArray:
    """Give saturated areas up to `factor` times the energy, so that motion draws them as bright trails."""
    saturated = np.clip((srgb.min(2) - LIGHT_SOURCE) / (1 - LIGHT_SOURCE), 0, 1)
    saturated = cv2.GaussianBlur(saturated, (0, 0), 0.7)[:, :, None]
    return np.asarray(raw * (1 + (factor - 1) * saturated), np.float32)
