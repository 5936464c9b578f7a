"""Classical dehazing: estimate transmission t and air light A, then invert I = J t + A (1 - t)."""

from __future__ import annotations

import cv2
import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.filters import guided_filter, with_luma

LEAST_TRANSMISSION = 0.1


def dark_channel_dehaze(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Dark channel prior (He, Sun & Tang 2011)."""
    air = air_light(pixels)
    transmission = 1 - 0.95 * _dark_channel(pixels / air, 15)
    token.report(0.5)
    return _invert(pixels, _refine(pixels, transmission), air)


def colour_attenuation_dehaze(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Colour attenuation prior (Zhu, Mai & Shao 2015), with the coefficients of the paper."""
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    depth = 0.121779 + 0.959710 * hsv[:, :, 2] - 0.780245 * hsv[:, :, 1]
    depth = cv2.erode(depth, np.ones((15, 15), np.uint8))
    token.report(0.5)
    return _invert(pixels, _refine(pixels, np.exp(-depth.astype(np.float32))), air_light(pixels))


def contrast_dehaze(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Stretch every channel to the full range (0.5 % clipped), then apply CLAHE to luma."""
    low = np.percentile(pixels, 0.5, axis=(0, 1)).astype(np.float32)
    high = np.percentile(pixels, 99.5, axis=(0, 1)).astype(np.float32)
    high = np.maximum(high, low + 0.1)
    # White is kept, because haze only raises dark values.
    stretched = np.clip((pixels - low) / (high - low) * np.minimum(high, 1), 0, 1).astype(np.float32)
    plane = luma(stretched)
    local = cv2.createCLAHE(clipLimit=1.2, tileGridSize=(4, 4)).apply(np.rint(plane * 65535).astype(np.uint16))
    return with_luma(stretched, (local / 65535).astype(np.float32))


def air_light(pixels: FloatArray) -> FloatArray:
    """(3,) air light: the mean colour of the haziest thousandth of the pixels."""
    dark = _dark_channel(pixels, 15)
    count = max(8, dark.size // 1000)
    haziest = np.argpartition(dark.ravel(), -count)[-count:]
    colour: FloatArray = pixels.reshape(-1, 3)[haziest].mean(axis=0)
    return np.clip(colour, 0.3, 1)


def _dark_channel(pixels: FloatArray, size: int) -> FloatArray:
    dark: FloatArray = cv2.erode(pixels.min(axis=2), np.ones((size, size), np.uint8))
    return dark


def _refine(pixels: FloatArray, transmission: FloatArray) -> FloatArray:
    return guided_filter(luma(pixels), transmission.astype(np.float32), 40, 1e-3)


def _invert(pixels: FloatArray, transmission: FloatArray, air: FloatArray) -> FloatArray:
    clear: FloatArray = (pixels - air) / np.clip(transmission, LEAST_TRANSMISSION, 1)[:, :, None] + air
    return np.clip(clear, 0, 1)
