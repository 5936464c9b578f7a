"""Location of eyes in a candidate window, and features of the window aligned to them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray
from toolbox.faces.face import Point

SIDE = 80
"""Side to which a window is resized before the search."""
PLACES = ((24, 29), (56, 29))
"""Mean positions of the eyes in windows of the cascade (31 faces), in pixels of the resized window."""
REACH = 13
"""Maximum distance from these positions."""
PEAKS = 4
DISTANCE, DISTANCE_SPREAD, TILT = 0.40, 0.06, 0.06
"""Mean and standard deviation of the eye distance, and of the tilt, relative to the side of the window."""
LEAST_PRIOR = -4.5
FINE, NEAR = 64, 11.0
"""Eye distance in pixels for the refinement, and the standard deviation of the first estimate's error."""
STANDARD = 48
EYE_LINE, EYE_LEFT, EYE_RIGHT = 17.0, 14.5, 33.5
"""Positions of the eyes in a standard window of 48x48 pixels."""
CELL, DIRECTIONS = 8, 8


@dataclass(frozen=True, slots=True)
class Eyes:
    """A candidate pair of eyes, in pixels of the image."""

    left: Point
    right: Point
    score: float
    """Log-likelihood of the positions plus the responses of both eyes."""


def eye_pairs(grey: FloatArray, left: float, top: float, side: float) -> list[Eyes]:
    """Candidate pairs in a square window of an (H, W) image in [0, 255]."""
    scale = SIDE / side
    window = _warped(grey, np.array([[scale, 0, -left * scale], [0, scale, -top * scale]]), SIDE)
    window = cv2.GaussianBlur(window / 255, (0, 0), 1.0)
    first, second = (_peaks(window, x, y) for x, y in PLACES)
    found = []
    for ax, ay, a in first:
        for bx, by, b in second:
            prior = -((((bx - ax) / SIDE - DISTANCE) / DISTANCE_SPREAD) ** 2 + ((by - ay) / SIDE / TILT) ** 2) / 2
            if prior > LEAST_PRIOR:
                points = [(x / scale + left, y / scale + top) for x, y in ((ax, ay), (bx, by))]
                found.append(Eyes(points[0], points[1], 0.3 * prior + a + b))
    return found


def refined(grey: FloatArray, eye: Point, distance: float) -> Point:
    """The refined centre of an eye, searched nearby at a higher resolution; `distance` is that of both eyes."""
    scale = FINE / distance
    middle = (SIDE - 1) / 2
    matrix = np.array([[scale, 0, middle - scale * eye[0]], [0, scale, middle - scale * eye[1]]])
    window = cv2.GaussianBlur(_warped(grey, matrix, SIDE) / 255, (0, 0), 1.5)
    centre = round(middle)
    field = _centre_field(window, centre, centre)
    apart = np.arange(-REACH, REACH + 1)
    field = (field * np.exp(-(apart[:, None] ** 2 + apart[None] ** 2) / (2 * NEAR**2))) ** 4
    total = max(float(field.sum()), 1e-12)
    right, down = float((field.sum(0) * apart).sum()) / total, float((field.sum(1) * apart).sum()) / total
    return eye[0] + right / scale, eye[1] + down / scale


def standard_window(grey: FloatArray, left_eye: Point, right_eye: Point) -> FloatArray:
    """The (48, 48) crop of an (H, W) image in [0, 255], aligned so that the eyes have standard positions."""
    (x, y), (u, v) = left_eye, right_eye
    scale = (EYE_RIGHT - EYE_LEFT) / max(float(np.hypot(u - x, v - y)), 1e-6)
    angle = np.arctan2(v - y, u - x)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    place = np.array([(EYE_LEFT + EYE_RIGHT) / 2, EYE_LINE]) - turn @ ((x + u) / 2, (y + v) / 2)
    return _warped(grey, np.hstack([turn, place[:, None]]), STANDARD)


def oriented_gradients(window: FloatArray) -> FloatArray:
    """(800,) histograms of signed gradient directions of a (48, 48) window (after Dalal & Triggs 2005)."""
    smooth = cv2.GaussianBlur(window, (0, 0), 0.7)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = np.sqrt(np.hypot(across, down))
    angle = (np.arctan2(down, across) % (2 * np.pi)) / (2 * np.pi) * DIRECTIONS
    lower = np.floor(angle).astype(int) % DIRECTIONS
    beyond = angle - np.floor(angle)
    cells = STANDARD // CELL
    histogram = np.zeros((cells, cells, DIRECTIONS), np.float32)
    for direction in range(DIRECTIONS):
        share = (lower == direction) * (1 - beyond) + (lower == (direction - 1) % DIRECTIONS) * beyond
        histogram[:, :, direction] = (strength * share).reshape(cells, CELL, cells, CELL).mean((1, 3))
    blocks = [histogram[row : row + 2, column : column + 2].ravel() for row in range(5) for column in range(5)]
    return np.concatenate([np.minimum(block / (np.linalg.norm(block) + 4), 0.3) for block in blocks])


def _peaks(window: FloatArray, x: int, y: int) -> list[tuple[int, int, float]]:
    """The best places for an eye's centre around (x, y), and that place itself as the last resort."""
    field = _centre_field(window, x, y)
    apart = np.arange(-REACH, REACH + 1)
    field = field * np.exp(-(apart[:, None] ** 2 + apart[None] ** 2) / (2 * 11.0**2))
    highest = cv2.dilate(field.astype(np.float32), np.ones((7, 7), np.uint8))
    rows, columns = np.nonzero((field >= highest - 1e-6) & (field > 0.25 * field.max()))
    order = np.argsort(-field[rows, columns], kind="stable")[:PEAKS]
    found = [
        (int(columns[i]) - REACH + x, int(rows[i]) - REACH + y, float(field[rows[i], columns[i]])) for i in order
    ]
    return [*found, (x, y, 0.25)]


def _centre_field(window: FloatArray, x: int, y: int) -> FloatArray:
    """How much gradients point away from each place, and how dark it is: Timm & Barth, "Accurate eye centre
    localisation by means of gradients", 2011.
    """
    reach = int(REACH * 1.8)
    top, left = max(0, y - reach), max(0, x - reach)
    piece = window[top : y + reach + 1, left : x + reach + 1]
    across, down = cv2.Sobel(piece, cv2.CV_32F, 1, 0), cv2.Sobel(piece, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down) + 1e-6
    rows, columns = np.nonzero(strength > strength.mean() + 0.3 * strength.std())
    across, down = across[rows, columns] / strength[rows, columns], down[rows, columns] / strength[rows, columns]
    centre_y, centre_x = np.mgrid[y - REACH - top : y + REACH + 1 - top, x - REACH - left : x + REACH + 1 - left]
    to_x, to_y = columns[None] - centre_x.ravel()[:, None], rows[None] - centre_y.ravel()[:, None]
    length = np.hypot(to_x, to_y) + 1e-6
    agreement = np.maximum((to_x * across + to_y * down) / length, 0) ** 2
    field = (agreement * ((length < 0.11 * SIDE) & (length > 0.02 * SIDE))).sum(1).reshape(centre_y.shape)
    dark = 1 - cv2.GaussianBlur(piece, (0, 0), 1.5)[centre_y, centre_x]
    dark = (dark - dark.min()) / (np.ptp(dark) + 1e-6)
    return np.asarray(field / (field.max() + 1e-6) * (0.3 + 0.7 * dark), np.float32)


def _warped(grey: FloatArray, matrix: NDArray[np.float64], side: int) -> FloatArray:
    scale = float(np.hypot(matrix[0, 0], matrix[0, 1]))
    piece, moved = _around(grey, matrix, side)
    if scale < 0.7:
        piece = cv2.GaussianBlur(piece, (0, 0), 0.4 / scale)
    result: FloatArray = cv2.warpAffine(
        piece, moved, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return result


def _around(grey: FloatArray, matrix: NDArray[np.float64], side: int) -> tuple[FloatArray, NDArray[np.float64]]:
    """The part of the image that the window covers, and the transform from that part."""
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]], float) - matrix[:, 2]
    places = corners @ np.linalg.inv(matrix[:, :2]).T
    margin = 0.25 * float(np.ptp(places[:, 0])) + 4
    height, width = grey.shape
    left, top = (
        int(np.clip(place - margin, 0, size - 1)) for place, size in zip(places.min(0), (width, height), strict=True)
    )
    right, bottom = (
        int(np.clip(place + margin, 1, size)) for place, size in zip(places.max(0), (width, height), strict=True)
    )
    if right - left < 2 or bottom - top < 2:
        return grey, matrix
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (left, top)
    return np.ascontiguousarray(grey[top:bottom, left:right]), moved
