"""Dehazing by a learned transmission map: a perceptron estimates transmission and air light from classical priors."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.dehazing import air_light
from toolbox.classical.perceptron import load_perceptron
from toolbox.classical.sampling import shrunk

WEIGHTS = Path(__file__).with_name("transmission_map.safetensors")
THUMBNAIL = 128
"""Long side of the reduced image on which the transmission map is estimated."""
LEAST_TRANSMISSION = 0.08
CLEAR = 3.0
"""Logit of the transmission, 0.95, if the perceptron returns 0."""
RADII = (2, 5, 12)
SMOOTH = 4.0


def learned_transmission_map(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Invert I = J t + A (1 - t) with the estimated t and A (trained by `python -m training.fits.transmission_map`).

    The training data contains clear photos, so naturally pale images change little.
    """
    scale = THUMBNAIL / max(pixels.shape[:2])
    small = pixels if scale >= 1 else shrunk(pixels, scale)
    logits = load_perceptron(WEIGHTS)(transmission_features(small))
    transmission, air = transmission_of(logits, air_light(small))
    token.report(0.5)
    # The transmission is smooth except at depth edges, which are also edges of the image.
    slope, offset = _lines(luma(small), transmission)
    size = pixels.shape[1::-1]
    slope, offset = (cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in (slope, offset))
    full = np.clip(slope * luma(pixels) + offset, LEAST_TRANSMISSION, 1)[:, :, None]
    token.check()
    clear: FloatArray = (pixels - air) / full + air
    return np.clip(clear, 0, 1)


def transmission_of(logits: FloatArray, haziest: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Transmission (h, w) and air light (3,) from the perceptron's logits (h, w, 2) and the colour `haziest`."""
    transmission = 1 / (1 + np.exp(-(logits[:, :, 0] + CLEAR)))
    shift = float(np.tanh(logits[:, :, 1].mean()))
    return np.clip(transmission, LEAST_TRANSMISSION, 1).astype(np.float32), haziest + np.float32(0.3 * shift)


def transmission_features(small: FloatArray) -> FloatArray:
    """(h, w, n): features of every pixel, of its neighbourhood, and quantiles of the whole image."""
    value, least = small.max(axis=2), small.min(axis=2)
    bright = luma(small)
    saturation = (value - least) / np.maximum(value, 1e-3)
    dark = [cv2.erode(least, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) for radius in RADII]
    mean = _blur(bright)
    contrast = np.sqrt(np.maximum(_blur(bright**2) - mean**2, 0))
    rows = np.broadcast_to(np.linspace(0, 1, small.shape[0], dtype=np.float32)[:, None], value.shape)
    local = [
        value,
        least,
        saturation,
        mean,
        contrast,
        rows,
        _blur(least),
        _blur(saturation),
        *map(_blur, dark),
        *dark,
    ]
    whole = np.concatenate(
        [np.quantile(plane, np.linspace(0, 1, 9)) for plane in (value, least, saturation, dark[1], contrast)]
        + [air_light(small)]
    ).astype(np.float32)
    everywhere = np.broadcast_to(whole, (*value.shape, len(whole)))
    return np.concatenate([np.stack(local, axis=2).astype(np.float32), everywhere], axis=2)


def _blur(plane: FloatArray) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), SMOOTH, borderType=cv2.BORDER_REFLECT), np.float32)


def _lines(guide: FloatArray, plane: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope and offset of plane = slope * guide + offset: the fast guided filter (He & Sun 2015)."""
    mean_guide, mean_plane = _blur(guide), _blur(plane)
    slope = (_blur(guide * plane) - mean_guide * mean_plane) / (_blur(guide * guide) - mean_guide**2 + 1e-3)
    return _blur(slope), _blur(mean_plane - slope * mean_guide)
