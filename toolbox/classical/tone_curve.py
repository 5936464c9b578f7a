"""Brightening by a tone curve that a perceptron predicts from the histograms of the image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.filters import Filter
from toolbox.classical.perceptron import load_perceptron
from toolbox.classical.sampling import shrunk, thinned

WEIGHTS = Path(__file__).with_name("tone_curve.safetensors")
THUMBNAIL = 160
"""Long side of the reduced image whose histograms are measured."""
KNOTS = 17
STEEPEST = 3.0
"""Logarithm of the maximum slope of the curve."""
QUANTILES = {"value": 17, "least": 9, "saturation": 9, "gradient": 5}


def learned_tone_curve(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Apply the predicted tone curve to V of HSV (trained by `python -m training.fits.tone_curve`).

    Hue and saturation are kept: all channels of a pixel get the same gain. The training data contains naturally
    dark photos, so these change little.
    """
    answers = load_perceptron(WEIGHTS)(tone_curve_features(thinned(pixels)))
    knots = tone_curve_of(answers.reshape(-1, KNOTS)).mean(axis=0)  # the mean over an ensemble of networks

    def filtered(tile: FloatArray) -> FloatArray:
        value = tile.max(axis=2)
        raised = np.interp(value, np.linspace(0, 1, KNOTS), knots).astype(np.float32)
        gain = raised / np.maximum(value, 1e-4)
        return np.clip(tile * gain[:, :, None], 0, 1)

    return filtered


def tone_curve_of(slopes: FloatArray) -> FloatArray:
    """(..., KNOTS) increasing curves in [0, 1] from their start and the logarithms of their slopes; 0: identity."""
    rises = np.exp(np.clip(slopes, -STEEPEST, STEEPEST)) / (KNOTS - 1)
    rises[..., 0] -= 1 / (KNOTS - 1)
    curve: FloatArray = np.clip(np.cumsum(rises, axis=-1), 0, 1).astype(np.float32)
    return curve


def tone_curve_features(pixels: FloatArray) -> FloatArray:
    """(40,) quantiles of V, of the minimum channel, of the saturation, and of the gradient of V."""
    scale = THUMBNAIL / max(pixels.shape[:2])
    small = pixels if scale >= 1 else shrunk(pixels, scale)
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
