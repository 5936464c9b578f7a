"""Synthesis of known failures of experts, to which the quality score must give low values."""

from __future__ import annotations

import cv2
import numpy as np

from imaging.convert import FloatArray


def _smoothed(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Remove detail and keep edges, by a bilateral filter."""
    return np.asarray(cv2.bilateralFilter(pixels, -1, float(rng.uniform(0.05, 0.25)), float(rng.uniform(2, 5))))


def _ringing(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Sharpen far too much."""
    soft = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(1, 3)))
    return _limited(pixels + np.float32(rng.uniform(0.7, 3)) * (pixels - soft))


def _tinted(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    gains = rng.uniform(0.6, 1.0, 3).astype(np.float32)
    return _limited(pixels * gains / gains.mean())


def _shifted(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Shift by up to 3 pixels."""
    shift = np.array([[1, 0, rng.uniform(-3, 3)], [0, 1, rng.uniform(-3, 3)]])
    return np.asarray(cv2.warpAffine(pixels, shift, pixels.shape[1::-1], borderMode=cv2.BORDER_REFLECT), np.float32)


def _invented(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Add invented texture, more where the image has texture."""
    grain = cv2.GaussianBlur(rng.standard_normal(pixels.shape[:2]).astype(np.float32), (0, 0), rng.uniform(0.7, 2))
    detail = np.abs(pixels - cv2.GaussianBlur(pixels, (0, 0), 2)).mean(2)
    where = 0.2 + cv2.GaussianBlur(detail, (0, 0), 4) / (float(detail.mean()) + 1e-3)
    strength = np.float32(rng.uniform(0.02, 0.1)) / grain.std()
    return _limited(pixels + (strength * grain * np.minimum(where, 3))[..., None])


def _faded(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Change brightness and contrast."""
    gamma, gain = np.float32(np.exp(rng.uniform(-0.7, 0.7))), np.float32(rng.uniform(0.6, 1.6))
    bent = np.clip(pixels, 0, 1) ** gamma
    return _limited((bent - bent.mean()) * gain + bent.mean())


def _limited(pixels: FloatArray) -> FloatArray:
    return np.asarray(np.clip(pixels, 0, 1), np.float32)


FAILURES = {
    "smoothed": _smoothed,
    "ringing": _ringing,
    "tinted": _tinted,
    "shifted": _shifted,
    "invented": _invented,
    "faded": _faded,
}
