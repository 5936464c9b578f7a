"""Classical deraining: streaks are thin, bright, steep and parallel."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.filters import Filter, guided_filter
from toolbox.classical.sampling import middle

STEEPEST, FLATTEST = 90, 45
"""Candidate angles of streaks in degrees from the horizontal."""
STREAK_LENGTH = 11
ACROSS = 9
ANALYSED_SIDE = 720


def morphology_derain(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Detect streaks by openings across and along their direction, and fill them from their surroundings."""
    angle = streak_angle(pixels)
    along = _line(STREAK_LENGTH, angle)
    across = _line(ACROSS, angle + 90)

    def filtered(band: FloatArray) -> FloatArray:
        plane = luma(band)
        thin = plane - cv2.morphologyEx(plane, cv2.MORPH_OPEN, across, borderType=cv2.BORDER_REFLECT)
        streaks = cv2.morphologyEx(thin, cv2.MORPH_OPEN, along, borderType=cv2.BORDER_REFLECT)
        mask = cv2.GaussianBlur(cv2.dilate(np.clip(streaks / 0.06, 0, 1), np.ones((3, 3), np.uint8)), (0, 0), 0.8)
        background = cv2.morphologyEx(band, cv2.MORPH_OPEN, across, borderType=cv2.BORDER_REFLECT)
        background = cv2.GaussianBlur(background, (0, 0), 1.0)
        return band + np.clip(mask, 0, 1)[:, :, None] * (np.minimum(background, band) - band)

    return filtered


def median_derain(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Replace pixels that are much brighter than the median across the streaks by that median."""
    angle = streak_angle(pixels)
    offsets = _offsets(ACROSS, angle + 90)

    def filtered(band: FloatArray) -> FloatArray:
        shifted = np.stack([_shifted(band, dx, dy) for dx, dy in offsets])
        median = np.median(shifted, axis=0).astype(np.float32)
        bright = np.clip(luma(band) - luma(median), 0, None)
        streaks = cv2.blur(bright, (1, 7)) if abs(angle - 90) < 20 else cv2.GaussianBlur(bright, (0, 0), 1.5)
        mask = np.clip((streaks - 0.02) / 0.04, 0, 1)[:, :, None]
        return band + mask * (np.minimum(median, band) - band)

    return filtered


def guided_derain(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Split by a guided filter (Xu et al. 2012): the low frequencies are free of rain; of the high frequencies only
    dark details and those of another direction are kept.
    """
    angle = streak_angle(pixels)
    along = _line(STREAK_LENGTH, angle)

    def filtered(band: FloatArray) -> FloatArray:
        low = np.stack([guided_filter(luma(band), band[:, :, c].copy(), 5, 4e-3) for c in range(3)], axis=2)
        high = band - low
        bright = np.clip(luma(high), 0, None)
        streaks = cv2.morphologyEx(bright, cv2.MORPH_OPEN, along, borderType=cv2.BORDER_REFLECT)
        streaks = np.minimum(cv2.dilate(streaks, np.ones((3, 3), np.uint8)), bright)
        return np.clip(band - streaks[:, :, None], 0, 1)

    return filtered


def streak_angle(pixels: FloatArray) -> float:
    """The direction of the longest thin bright details, in degrees from the horizontal, 45..135."""
    plane = luma(middle(pixels, ANALYSED_SIDE))
    thin = plane - cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((1, 7), np.uint8))
    angles = range(FLATTEST, 180 - FLATTEST + 1, 5)
    return float(max(angles, key=lambda angle: float(cv2.erode(thin, _line(2 * STREAK_LENGTH, angle)).mean())))


def _line(length: int, angle_degrees: float) -> np.ndarray:
    """A line-shaped structuring element."""
    side = length | 1
    element = np.zeros((side, side), np.uint8)
    for dx, dy in _offsets(length, angle_degrees):
        element[side // 2 + dy, side // 2 + dx] = 1
    return element


def _offsets(length: int, angle_degrees: float) -> list[tuple[int, int]]:
    """The pixels of a line through the origin; positive angles are counter-clockwise."""
    angle, half = math.radians(angle_degrees), length // 2
    steps = [(round(n * math.cos(angle)), round(-n * math.sin(angle))) for n in range(-half, half + 1)]
    return list(dict.fromkeys(steps))


def _shifted(band: FloatArray, dx: int, dy: int) -> FloatArray:
    reach = ACROSS
    padded = cv2.copyMakeBorder(band, reach, reach, reach, reach, cv2.BORDER_REFLECT)
    return padded[reach + dy : reach + dy + band.shape[0], reach + dx : reach + dx + band.shape[1]]
