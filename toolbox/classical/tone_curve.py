"""Brightening by a learned tone curve: what the picture's own histograms say about how it was darkened."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.filters import Filter
from toolbox.classical.perceptron import load_perceptron
from toolbox.classical.sampling import thinned

WEIGHTS = Path(__file__).with_name("tone_curve.safetensors")
THUMBNAIL = 160
"""Long side of the picture whose histograms are taken."""
KNOTS = 17
STEEPEST = 3.0
"""Logarithm of the steepest slope of the curve."""
QUANTILES = {"value": 17, "least": 9, "saturation": 9, "gradient": 5}


def learned_tone_curve(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Raise V of HSV by the curve that undoes darkening best in the mean (`python -m training.fits.tone_curve`).

    The colour of a pixel stays: all three channels are multiplied alike. A photo that is dark by nature is
    left nearly as it is, because such photos were learned too.
    """
    answers = load_perceptron(WEIGHTS)(tone_curve_features(thinned(pixels)))
    knots = tone_curve_of(answers.reshape(-1, KNOTS)).mean(axis=0)  # each of several networks has its own opinion

    def filtered(tile: FloatArray) -> FloatArray:
        value = tile.max(axis=2)
        raised = np.interp(value, np.linspace(0, 1, KNOTS), knots).astype(np.float32)
        gain = raised / np.maximum(value, 1e-4)
        return np.clip(tile * gain[:, :, None], 0, 1)

    return filtered


def tone_curve_of(slopes: FloatArray) -> FloatArray:
    """(..., KNOTS) a rising curve in [0, 1] from its start and the logarithms of its slopes; 0 is the identity."""
    rises = np.exp(np.clip(slopes, -STEEPEST, STEEPEST)) / (KNOTS - 1)
    rises[..., 0] -= 1 / (KNOTS - 1)
    curve: FloatArray = np.clip(np.cumsum(rises, axis=-1), 0, 1).astype(np.float32)
    return curve


def tone_curve_features(pixels: FloatArray) -> FloatArray:
    """(40,) quantiles of V, of the least channel, of the saturation, and of the gradient of V."""
    scale = THUMBNAIL / max(pixels.shape[:2])
    small = pixels if scale >= 1 else cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    value, least = small.max(axis=2), small.min(axis=2)
    gradient = cv2.magnitude(cv2.Sobel(value, cv2.CV_32F, 1, 0), cv2.Sobel(value, cv2.CV_32F, 0, 1))
    planes = {
        "value": value,
        "least": least,
        "saturation": (value - least) / np.maximum(value, 1e-3),
        "gradient": gradient,
    }
    return np.concatenate(
        [np.quantile(planes[name], np.linspace(0, 1, count)) for name, count in QUANTILES.items()]
    ).astype(np.float32)
