"""Spatially varying blur by motion and by the lens, on (H, W, 3) linear light."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imaging.convert import FloatArray
from toolbox.classical.streaks import line_kernel
from training.data.degradations import convolve, disk_kernel, path_kernel


def motion_blur(linear: FloatArray, length_px: float, rng: np.random.Generator) -> tuple[FloatArray, str]:
    """Camera shake or a straight line, half of the time varying over the picture; and its kind.

    Variation: one part moves further than the other (rotation of the camera), or only a part moves (an object).
    """
    kernel, kind = _motion_kernel(length_px, rng)
    blurred = convolve(linear, kernel)
    chance = rng.random()
    if chance < 0.35:
        other, _ = _motion_kernel(length_px * rng.uniform(0.2, 0.8), rng)
        share = _ramp(linear.shape[0], linear.shape[1], rng)[:, :, None]
        return np.asarray(blurred + share * (convolve(linear, other) - blurred), np.float32), f"varying {kind}"
    if chance < 0.5:
        share = _blob(linear.shape[0], linear.shape[1], rng)[:, :, None]
        return np.asarray(linear + share * (blurred - linear), np.float32), f"object {kind}"
    return blurred, kind


def lens_blur(linear: FloatArray, radius_px: float, rng: np.random.Generator) -> tuple[FloatArray, str]:
    """Defocus (disk, soft disk) or aberration (Gaussians), at times weaker around a random centre; and its kind."""
    kind = str(rng.choice(["disk", "soft disk", "gaussian", "aberration"]))
    strong = _filtered(linear, kind, radius_px, rng)
    if rng.random() < 0.5:
        return strong, kind
    # field curvature: the centre of the field is sharper
    weak = _filtered(linear, "gaussian", radius_px * rng.uniform(0.1, 0.6), rng)
    share = _off_centre(linear.shape[0], linear.shape[1], rng)[:, :, None]
    return np.asarray(weak + share * (strong - weak), np.float32), f"curved field {kind}"


def shallow_focus(linear: FloatArray, radius_px: float, rng: np.random.Generator) -> FloatArray:
    """A scene outside the depth of field, half of the time with a part of it in focus."""
    blurred = convolve(linear, disk_kernel(radius_px))
    if rng.random() < 0.5:
        return blurred
    share = _blob(linear.shape[0], linear.shape[1], rng)[:, :, None]
    return np.asarray(linear + share * (blurred - linear), np.float32)


def lateral_chromatic_aberration(linear: FloatArray, shift_px: float, angle: float) -> FloatArray:
    """Red shifted against green in direction `angle`, and blue in the opposite direction by 0.7 of that."""
    dx, dy = shift_px * math.cos(angle), shift_px * math.sin(angle)
    planes = [_moved(linear[:, :, 0], dx, dy), linear[:, :, 1], _moved(linear[:, :, 2], -0.7 * dx, -0.7 * dy)]
    return np.stack(planes, 2)


def _motion_kernel(length_px: float, rng: np.random.Generator) -> tuple[FloatArray, str]:
    if rng.random() < 0.4:
        return line_kernel(length_px, float(rng.uniform(0, 180)), taper=float(rng.uniform(0, 1))), "line"
    return path_kernel(length_px, rng), "shake"


def _filtered(linear: FloatArray, kind: str, radius_px: float, rng: np.random.Generator) -> FloatArray:
    if kind == "disk":
        return convolve(linear, disk_kernel(radius_px))
    if kind == "soft disk":
        soft = cv2.GaussianBlur(disk_kernel(radius_px), (0, 0), 0.3 * radius_px + 0.3)
        return convolve(linear, np.asarray(soft / soft.sum(), np.float32))
    long = radius_px / 1.6
    if kind == "gaussian":
        return np.asarray(cv2.GaussianBlur(linear, (0, 0), long, borderType=cv2.BORDER_REFLECT), np.float32)
    return convolve(linear, _unequal_gaussian(long, long * rng.uniform(0.3, 0.9), float(rng.uniform(0, math.pi))))


def _unequal_gaussian(long: float, short: float, angle: float) -> FloatArray:
    reach = math.ceil(3 * long) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kernel = np.exp(-0.5 * ((along / long) ** 2 + (across / short) ** 2))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _moved(plane: FloatArray, dx: float, dy: float) -> FloatArray:
    shift = np.array([[1, 0, dx], [0, 1, dy]])
    moved = cv2.warpAffine(plane, shift, plane.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


def _ramp(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """0 to 1 across the picture in a random direction."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    return np.asarray((0.5 + 0.5 * (x * math.cos(angle) + y * math.sin(angle))).clip(0, 1), np.float32)


def _off_centre(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """0 at a random centre of the field, 1 at its edge."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(rng.uniform(-1, 1))
    x = np.linspace(-1, 1, width, dtype=np.float32) - np.float32(rng.uniform(-1, 1))
    return np.asarray(((x * x + y * y) / 2).clip(0, 1), np.float32)


def _blob(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """A soft mask of a random part of the picture."""
    small = cv2.resize(rng.random((4, 4)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(((small - 0.5) * 8 + 0.5).clip(0, 1), np.float32)
