"""Alignment of faces: crop a face upright at 512x512 pixels, and paste a restored crop back without a seam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray
from toolbox.faces.face import Face

SIDE = 512
TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""Positions of the five landmarks in the aligned crop: the mean face of FFHQ, as in facexlib and the face experts."""
BOX_CENTRE, BOX_SIDE = (256.0, 300.0), 315.0
"""Position of a face's box in the crop, for faces that are aligned by their box."""
ELLIPSE = ((256.0, 260.0), (246.0, 248.0))
"""Centre and radii of the ellipse in the crop outside of which the image stays unchanged."""
FEATHER = 0.35
"""The outer share of the radii over which the change fades out."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Aligned:
    """The crop of a face."""

    crop: FloatArray
    """(512, 512, 3) in [0, 1]."""
    matrix: Matrix
    """(2, 3) transform from image to crop coordinates."""

    @property
    def scale(self) -> float:
        """Crop pixels per image pixel."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))


def alignment(face: Face) -> Matrix:
    """The (2, 3) similarity transform from the image to the crop of a face.

    Least squares over the five landmarks (Umeyama 1991). For a profile, whose eye distance does not show its size,
    the transform follows from the box, without rotation.
    """
    if face.is_profile:
        scale = BOX_SIDE / max(face.size, 1e-6)
        x, y = face.centre
        return np.array([[scale, 0, BOX_CENTRE[0] - scale * x], [0, scale, BOX_CENTRE[1] - scale * y]])
    points = np.array(face.landmarks, float)
    middle, wanted = points.mean(0), TEMPLATE.mean(0)
    source, target = points - middle, TEMPLATE - wanted
    spread = max(float(np.square(source).sum()), 1e-9)
    cosine = float((source * target).sum()) / spread
    sine = float((source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum()) / spread
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.hstack([turn, (wanted - turn @ middle)[:, None]])


def align(pixels: FloatArray, face: Face) -> Aligned:
    """Crop a face from (H, W, 3) pixels, with reflection beyond the borders of the image."""
    matrix = alignment(face)
    left, top, right, bottom = _region(matrix, pixels.shape[1], pixels.shape[0], margin=8)
    piece = np.ascontiguousarray(pixels[top:bottom, left:right])
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (left, top)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:
        piece = cv2.GaussianBlur(piece, (0, 0), 0.4 / scale, borderType=cv2.BORDER_REFLECT_101)
    crop = cv2.warpAffine(piece, moved, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return Aligned(np.clip(crop, 0, 1).astype(np.float32), matrix)


def paste(pixels: FloatArray, changes: Sequence[tuple[Aligned, FloatArray]]) -> FloatArray:
    """(H, W, 3) pixels with the restored crops pasted back.

    Only the difference that an expert made is pasted, and it fades out towards the edge of the crop: an unmodified
    crop changes nothing, a face larger than the crop keeps its finer details, and where crops overlap their changes
    are averaged.
    """
    result = pixels.copy()
    paste_into(result, changes)
    return result


def paste_into(pixels: FloatArray, changes: Sequence[tuple[Aligned, FloatArray]]) -> None:
    """As `paste`, but in place."""
    # Pages of zeros that are never written take no memory.
    total, weight = np.zeros(pixels.shape, np.float32), np.zeros(pixels.shape[:2], np.float32)
    regions = []
    for aligned, restored in changes:
        left, top, right, bottom = _region(aligned.matrix, pixels.shape[1], pixels.shape[0])
        if left >= right or top >= bottom:
            continue
        change = (restored - aligned.crop) * MASK[:, :, None]
        if aligned.scale > 1:
            change = cv2.GaussianBlur(change, (0, 0), 0.35 * aligned.scale)
        back = aligned.matrix.copy()
        back[:, 2] += aligned.matrix[:, :2] @ (left, top)
        size = (right - left, bottom - top)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        total[top:bottom, left:right] += cv2.warpAffine(change, back, size, flags=flags)
        weight[top:bottom, left:right] += cv2.warpAffine(MASK, back, size, flags=flags)
        regions.append((slice(top, bottom), slice(left, right)))
    for region in regions:
        pixels[region] = np.clip(pixels[region] + total[region] / np.maximum(weight[region], 1)[:, :, None], 0, 1)
        total[region] = 0  # so that the overlap of two regions is changed once


def _region(matrix: Matrix, width: int, height: int, margin: int = 2) -> tuple[int, int, int, int]:
    """The part of the image that the crop covers: left, top, right, bottom."""
    corners = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]], float) - matrix[:, 2]
    places = corners @ np.linalg.inv(matrix[:, :2]).T
    left, top = np.floor(places.min(0)).astype(int) - margin
    right, bottom = np.ceil(places.max(0)).astype(int) + margin
    return (
        int(np.clip(left, 0, width - 1)),
        int(np.clip(top, 0, height - 1)),
        int(np.clip(right, 1, width)),
        int(np.clip(bottom, 1, height)),
    )


def _mask() -> FloatArray:
    """(512, 512) weights: 1 on the face, 0 at the edge of the ellipse and outside."""
    y, x = np.mgrid[:SIDE, :SIDE]
    (centre_x, centre_y), (radius_x, radius_y) = ELLIPSE
    distance = np.hypot((x - centre_x) / radius_x, (y - centre_y) / radius_y)
    inside = np.clip((1 - distance) / FEATHER, 0, 1)
    smooth: FloatArray = (inside * inside * (3 - 2 * inside)).astype(np.float32)
    return smooth


MASK = _mask()
