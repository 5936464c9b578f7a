"""Features of rain: thin bright lines in one steep direction."""

from __future__ import annotations

import math

import numpy as np

from imaging.convert import FloatArray
from iqa.handcrafted.inputs import MeasurementInputs

DIRECTIONS = 12
STEEPEST = math.radians(45)
"""Largest angle between streaks and the vertical."""
LENGTH, WIDTH, GAP = 13.0, 1.5, 3
"""Length and width of the line filter, and the distance of its two sides, in pixels."""
LEAST = 2.0
"""Levels (of 255) that are subtracted from the strength of a line."""
MOST_PIXELS = 160_000


def streaks(inputs: MeasurementInputs) -> dict[str, float]:
    """Strength of steep bright lines, relative to dark lines and to bright lines of other directions.

    The strength of a line is its mean level minus the brighter of its two sides, so that edges and gradients give
    none. `streak_contrast_255`: mean strength above 2 levels in the strongest steep direction, minus that of dark
    lines; the others are natural logarithms of ratios.
    """
    angles = [(step - DIRECTIONS // 2) * math.pi / DIRECTIONS for step in range(DIRECTIONS)]
    patches = [_middle(luma, MOST_PIXELS // len(inputs.lumas)) for luma in inputs.lumas]
    strengths = np.array([np.mean([_lines(patch, angle) for patch in patches], axis=0) for angle in angles])
    bright, dark = np.log(strengths[:, 0] + 0.05), np.log(strengths[:, 1] + 0.05)
    net = np.maximum(strengths[:, 0] - strengths[:, 1], 0)
    steep = np.abs(angles) <= STEEPEST + 1e-6
    best = int(np.argmax(np.where(steep, bright, -np.inf)))
    asymmetry = (np.roll(bright - dark, 1) + 2 * (bright - dark) + np.roll(bright - dark, -1)) / 4
    return {
        "streak_contrast_255": float(net[best]),
        "streak_strength_log": float(bright[best]),
        "streak_over_dark_log": float(asymmetry[steep].max()),
        "streak_over_dark_of_steep_log": float(asymmetry[steep].max() - np.median(asymmetry[~steep])),
        "streak_over_other_directions_log": float(bright[best] - np.median(bright)),
        "streak_contrast_over_level_log": float(np.log(net[best] + 0.05) - np.log(np.median(net[~steep]) + 0.05)),
    }


def _lines(luma: FloatArray, angle: float) -> tuple[float, float]:
    """Mean strength of bright and of dark lines at `angle` from the vertical."""
    import cv2

    mean = np.asarray(cv2.filter2D(luma, -1, _line(angle), borderType=cv2.BORDER_REFLECT), np.float32)
    down, right = round(-GAP * math.sin(angle)), round(GAP * math.cos(angle))
    middle, one, other = (_shifted(mean, sign * down, sign * right) for sign in (0, 1, -1))
    bright = middle - np.maximum(one, other)
    dark = np.minimum(one, other) - middle
    return float(np.maximum(bright - LEAST, 0).mean()), float(np.maximum(dark - LEAST, 0).mean())


def _shifted(plane: FloatArray, down: int, right: int) -> FloatArray:
    """The plane without a border of `GAP`, shifted."""
    height, width = plane.shape
    return plane[GAP + down : height - GAP + down, GAP + right : width - GAP + right]


def _line(angle: float) -> FloatArray:
    reach = int(LENGTH / 2) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    across, along = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    kernel = np.clip(WIDTH / 2 + 0.5 - np.abs(across), 0, 1) * (np.abs(along) <= LENGTH / 2)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _middle(luma: FloatArray, most_pixels: int) -> FloatArray:
    keep = min(1.0, math.sqrt(most_pixels / luma.size))
    height, width = (max(16, round(size * keep)) for size in luma.shape)
    top, left = (luma.shape[0] - height) // 2, (luma.shape[1] - width) // 2
    return luma[max(0, top) :, max(0, left) :][:height, :width]
