"""Face detection: YuNet if its file was downloaded, otherwise MTCNN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray, to_uint8
from toolbox.errors import WeightsError
from toolbox.faces.face import Face
from toolbox.faces.models import YUNET, path_of
from toolbox.faces.mtcnn import detect_faces
from toolbox.faces.opencv_log import errors_only
from toolbox.store import ModelStore

YUNET_SIDE, MTCNN_SIDE = 1600, 800
"""Larger images are reduced to this long side for the search."""
YUNET_SCORE = 0.7


class Detector(Protocol):
    """Finds faces."""

    @property
    def name(self) -> str:
        """Its name in the report."""
        ...

    def __call__(self, pixels: FloatArray) -> tuple[Face, ...]:
        """The faces of (H, W, 3) pixels in [0, 1], the largest first."""
        ...


def load_detector(store: ModelStore | None = None) -> Detector:
    """The best available detector. It raises `WeightsError` if its networks are missing or damaged."""
    file = path_of(YUNET, store or ModelStore())
    return YuNetDetector(file) if file else MtcnnDetector()


@dataclass(frozen=True, slots=True)
class YuNetDetector:
    """YuNet (Wu et al. 2023) by OpenCV: frontal and turned faces with five landmarks."""

    file: Path
    name: str = "YuNet"

    def __call__(self, pixels: FloatArray) -> tuple[Face, ...]:
        """See `Detector`."""
        small, scale = _reduced(pixels, YUNET_SIDE)
        try:
            with errors_only():
                network: Any = cv2.FaceDetectorYN.create(str(self.file), "", small.shape[1::-1], YUNET_SCORE)
                _, rows = network.detect(np.ascontiguousarray(to_uint8(small)[:, :, ::-1]))
        except cv2.error as error:
            raise WeightsError(f"{self.file} cannot be run as YuNet: {error.err}", "download it again") from error
        return _sorted([_face_of(row / scale, float(row[14])) for row in (rows if rows is not None else [])])


@dataclass(frozen=True, slots=True)
class MtcnnDetector:
    """MTCNN on a reduced picture: upright and moderately turned faces with five landmarks."""

    name: str = "MTCNN"

    def __call__(self, pixels: FloatArray) -> tuple[Face, ...]:
        """See `Detector`."""
        small, scale = _reduced(pixels, MTCNN_SIDE)
        return _sorted([face.scaled(1 / scale, 1 / scale) for face in detect_faces(small)])


def _face_of(row: NDArray[np.float32], score: float) -> Face:
    """The face in one row of YuNet's output: box, eyes, nose, mouth corners; the left one in the image first."""
    values = [float(value) for value in row[:14]]
    a, b, c, d, e = zip(values[4::2], values[5::2], strict=True)
    return Face(values[0], values[1], values[2], values[3], (a, b, c, d, e), score)


def _sorted(faces: Sequence[Face]) -> tuple[Face, ...]:
    return tuple(sorted(faces, key=lambda face: -face.size))


def _reduced(pixels: FloatArray, side: int) -> tuple[FloatArray, float]:
    """The image with at most `side` pixels per side, and its scale."""
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale == 1:
        return pixels, 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), scale
