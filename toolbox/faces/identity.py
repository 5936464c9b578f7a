"""Identity of two aligned crops: SFace if its file was downloaded, otherwise a comparison of their structure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray, to_uint8
from toolbox.errors import WeightsError
from toolbox.faces.alignment import TEMPLATE
from toolbox.faces.models import SFACE, path_of
from toolbox.faces.opencv_log import errors_only
from toolbox.store import ModelStore

ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Positions of the five landmarks in the 112x112 input of face recognition networks."""
RECOGNISED_SIDE = 112
FACE_ROWS, FACE_COLUMNS = slice(110, 450), slice(90, 422)
"""The part of an aligned crop that shows the face."""
COARSE, FINE, CELL, DIRECTIONS = 24, 64, 8, 8


class Identity(Protocol):
    """Describes faces by vectors whose cosine similarity shows whether they are the same."""

    @property
    def name(self) -> str:
        """Its name in the report."""
        ...

    @property
    def same_from(self) -> float:
        """Minimum similarity of two crops of the same face."""
        ...

    def describe(self, crop: FloatArray) -> FloatArray:
        """A unit vector for an aligned crop, (512, 512, 3) in [0, 1]."""
        ...


def load_identity(store: ModelStore | None = None) -> Identity:
    """The best available method. Raises `WeightsError` for an SFace file that OpenCV cannot read."""
    file = path_of(SFACE, store or ModelStore())
    return SFaceIdentity.load(file) if file else StructureIdentity()


def similarity(one: FloatArray, other: FloatArray) -> float:
    """Cosine similarity of two descriptions, clipped at 0."""
    return max(0.0, float(np.dot(one, other)))


@dataclass(frozen=True, slots=True)
class SFaceIdentity:
    """SFace (Zhong et al. 2021) by OpenCV: face recognition."""

    network: Any
    file: Path
    name: str = "SFace"
    same_from: float = 0.363
    """OpenCV's threshold for LFW."""

    @classmethod
    def load(cls, file: Path) -> SFaceIdentity:
        """The network in an ONNX file."""
        try:
            with errors_only():
                return cls(cv2.FaceRecognizerSF.create(str(file), ""), file)
        except cv2.error as error:
            raise WeightsError(f"{file} cannot be run as SFace: {error.err}", "download it again") from error

    def describe(self, crop: FloatArray) -> FloatArray:
        """See `Identity`."""
        try:
            vector = self.network.feature(np.ascontiguousarray(to_uint8(recogniser_crop(crop))[:, :, ::-1]))
        except cv2.error as error:
            raise WeightsError(f"{self.file} cannot be run as SFace: {error.err}", "download it again") from error
        return _unit(np.asarray(vector, np.float32).ravel())


@dataclass(frozen=True, slots=True)
class StructureIdentity:
    """Compares contrast-normalised coarse luminance and orientations of edges; not a face recognition network.

    It tells whether a restored crop still shows the face of its input, but not whether another photo, pose or light
    shows the same person, and it is insensitive to fine features. On 31 faces of the training photos, each degraded
    three times (blur, downscaling by 1 to 4, noise, JPEG) and compared with the other 30 faces, the area under the
    ROC curve is 0.999 and the equal error rate 1.1 %; with landmark errors of 5 % of the eye distance, 0.997 and
    2.2 %.
    """

    name: str = "structure of the crop, not face recognition"
    same_from: float = 0.64

    def describe(self, crop: FloatArray) -> FloatArray:
        """See `Identity`."""
        grey = cv2.cvtColor(np.ascontiguousarray(crop[FACE_ROWS, FACE_COLUMNS], np.float32), cv2.COLOR_RGB2GRAY)
        parts = [_unit(_coarse_luminance(grey)), _unit(_edge_orientations(grey))]
        return np.concatenate(parts) / np.float32(np.sqrt(len(parts)))


def recogniser_crop(crop: FloatArray) -> FloatArray:
    """An aligned crop as input of face recognition networks: (112, 112, 3) in [0, 1]."""
    matrix, _ = cv2.estimateAffinePartial2D(TEMPLATE, ARCFACE, method=cv2.LMEDS)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    smooth = cv2.GaussianBlur(crop, (0, 0), 0.4 / scale)
    small: FloatArray = cv2.warpAffine(smooth, matrix, (RECOGNISED_SIDE, RECOGNISED_SIDE), flags=cv2.INTER_LINEAR)
    return np.clip(small, 0, 1)


def _coarse_luminance(grey: FloatArray) -> FloatArray:
    small = cv2.resize(grey, (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    small = small - cv2.GaussianBlur(small, (0, 0), COARSE / 5)
    small = small / (np.sqrt(cv2.GaussianBlur(small * small, (0, 0), COARSE / 5)) + 0.01)
    y, x = np.mgrid[:COARSE, :COARSE] - (COARSE - 1) / 2
    return np.asarray(small[np.hypot(x, y) < COARSE / 2], np.float32)


def _edge_orientations(grey: FloatArray) -> FloatArray:
    small = cv2.GaussianBlur(255 * cv2.resize(grey, (FINE, FINE), interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    across, down = cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    angle = (np.arctan2(down, across) % (2 * np.pi)) / (2 * np.pi) * DIRECTIONS
    lower, cells = np.floor(angle).astype(int) % DIRECTIONS, FINE // CELL
    beyond = angle - np.floor(angle)
    planes = [
        strength * ((lower == one) * (1 - beyond) + (lower == (one - 1) % DIRECTIONS) * beyond)
        for one in range(DIRECTIONS)
    ]
    histogram = np.stack([plane.reshape(cells, CELL, cells, CELL).mean((1, 3)) for plane in planes], axis=2)
    blocks = [
        histogram[row : row + 2, column : column + 2].ravel()
        for row in range(cells - 1)
        for column in range(cells - 1)
    ]
    normal = [np.minimum(block / (np.linalg.norm(block) + 4), 0.3) for block in blocks]
    return np.asarray(np.concatenate(normal), np.float32)


def _unit(vector: NDArray[np.float32]) -> FloatArray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)
