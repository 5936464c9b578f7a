"""Classical brightening."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.filters import Filter, guided_filter, with_luma
from toolbox.classical.sampling import thinned

TARGET_MEAN = 0.43
"""Mean luma of well-exposed photographs."""
SHIFT = 40 / 255
"""The constant of 4KAgent."""


def constant_shift(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Add 4KAgent's constant C = 40 to every channel."""
    return lambda tile: np.clip(tile + np.float32(SHIFT), 0, 1)


def gamma_brighten(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Gamma correction to the mean luma of a well-exposed photo; never darkens."""
    plane = luma(thinned(pixels))
    gamma = 1.0
    for _ in range(8):  # iterate, because mean(x ** g) is not mean(x) ** g
        mean = float((plane**gamma).mean())
        gamma *= math.log(TARGET_MEAN) / math.log(min(max(mean, 1e-4), 0.95))
    exponent = np.float32(min(max(gamma, 0.25), 1.0))
    return lambda tile: tile**exponent


def gain_brighten(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Gain to the mean luma of a well-exposed photo, with a soft shoulder instead of clipping."""
    gain = min(max(TARGET_MEAN / max(float(luma(thinned(pixels)).mean()), 1e-3), 1.0), 6.0)

    def filtered(tile: FloatArray) -> FloatArray:
        bright = tile * np.float32(gain)
        knee = np.float32(0.85)
        over = np.maximum(bright - knee, 0) / (1 - knee)
        return np.where(bright > knee, knee + (1 - knee) * np.tanh(over), bright).astype(np.float32)

    return filtered


def clahe_brighten(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Contrast-limited adaptive histogram equalization of luma (Zuiderveld 1994) in 16 bit."""
    plane = luma(pixels)
    equalised = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(np.rint(plane * 65535).astype(np.uint16))
    return with_luma(pixels, (equalised / 65535).astype(np.float32))


def fusion_brighten(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Exposure fusion (Mertens, Kautz & Van Reeth 2007) of brightened versions of the image."""
    mean = max(float(luma(pixels).mean()), 1e-3)
    gains = [1.0, *(gain for gain in (1.7, 2.9, 5.0) if gain * mean < 0.75)]
    # OpenCV divides by 255 whatever the dtype of its input.
    stack = [np.clip(pixels * np.float32(gain), 0, 1) * np.float32(255) for gain in gains]
    fused: FloatArray = cv2.createMergeMertens(1, 1, 1).process(stack)
    return np.clip(fused, 0, 1)


def lime_brighten(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """LIME (Guo, Li & Ling 2017): divide by an illumination map, the maximum channel smoothed along edges."""
    brightest = pixels.max(axis=2)
    illumination = guided_filter(luma(pixels), brightest, max(8, min(pixels.shape[:2]) // 24), 1e-3)
    illumination = np.clip(np.maximum(illumination, brightest), 0.04, 1)
    mean = float(luma(pixels).mean())
    strength = min(max((TARGET_MEAN - mean) / TARGET_MEAN, 0.0), 1.0) * 0.75
    return np.clip(pixels / (illumination ** np.float32(strength))[:, :, None], 0, 1)
