"""Face detection: YuNet if its file was downloaded, otherwise an embedded cascade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray, to_uint8
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.faces.alignment import TEMPLATE
from toolbox.faces.eyes import Eyes, eye_pairs, oriented_gradients, refined, standard_window
from toolbox.faces.face import SMALLEST, Face
from toolbox.faces.matching import overlap
from toolbox.faces.models import YUNET, path_of
from toolbox.store import ModelStore

VERIFIER = Path(__file__).with_name("verifier.safetensors")
YUNET_SIDE, CASCADE_SIDE = 1600, 800
"""Larger images are reduced to this long side for the search."""
YUNET_SCORE = 0.7
LEAST_WINDOWS = 2
SURE = 6.0
"""Minimum of the verifier's logit + 2 log2(number of windows)."""
SAME_PLACE, SAME_SIZE = 0.3, 1.7
"""Windows of one face: maximum distance relative to their side, and maximum ratio of their sides."""
BOX_OF_EYES = 2.5
"""Side of a face's box / distance of its eyes."""


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
    """The best available detector. Raises `WeightsError` for a YuNet file that OpenCV cannot read."""
    file = path_of(YUNET, store or ModelStore())
    return YuNetDetector(file) if file else CascadeDetector()


@dataclass(frozen=True, slots=True)
class YuNetDetector:
    """YuNet (Wu et al. 2023) by OpenCV: frontal and turned faces with five landmarks."""

    file: Path
    name: str = "YuNet"

    def __call__(self, pixels: FloatArray) -> tuple[Face, ...]:
        """See `Detector`."""
        small, scale = _reduced(pixels, YUNET_SIDE)
        try:
            network: Any = cv2.FaceDetectorYN.create(str(self.file), "", small.shape[1::-1], YUNET_SCORE)
            _, rows = network.detect(np.ascontiguousarray(to_uint8(small)[:, :, ::-1]))
        except cv2.error as error:
            raise WeightsError(f"{self.file} cannot be run as YuNet: {error.err}", "download it again") from error
        return _sorted([_face_of(row / scale, float(row[14])) for row in (rows if rows is not None else [])])


@dataclass(frozen=True, slots=True)
class CascadeDetector:
    """The LBP cascade of scikit-image with a verifier: upright frontal faces from 24 pixels on.

    On held-out photos it keeps about 8 of 10 such faces that the cascade finds, with about 5 false positives in 100
    photos. The eyes are located in the image; nose and mouth are those of the mean face.
    """

    name: str = "LBP cascade, verified"

    def __call__(self, pixels: FloatArray) -> tuple[Face, ...]:
        """See `Detector`."""
        small, scale = _reduced(pixels, CASCADE_SIDE)
        grey = cv2.cvtColor(to_uint8(small), cv2.COLOR_RGB2GRAY)
        found = [self._verified(grey.astype(np.float32), group) for group in grouped(windows(grey))]
        faces = [face.scaled(1 / scale, 1 / scale) for face in found if face]
        return _sorted(_without_duplicates(faces))

    def _verified(self, grey: FloatArray, group: Sequence[NDArray[np.float64]]) -> Face | None:
        """The face in a group of windows; None if the verifier rejects it."""
        if len(group) < LEAST_WINDOWS:
            return None
        left, top, side = np.median(np.stack(group), axis=0)
        located = _locate_eyes(grey, float(left), float(top), float(side))
        confidence = located[1] + 2 * np.log2(len(group)) if located else 0.0
        if located is None or confidence < SURE:
            return None
        face = face_of_eyes(located[0].left, located[0].right, float(side))
        # The cascade's windows are imprecise; locate the eyes again in a window centred on them.
        x, y = (np.array(located[0].left) + located[0].right) / 2
        again = _locate_eyes(grey, float(x) - face.width / 2, float(y) - 0.36 * face.width, face.width)
        eyes = again[0] if again else located[0]
        distance = float(np.hypot(eyes.right[0] - eyes.left[0], eyes.right[1] - eyes.left[1]))
        first, second = (refined(grey, eye, distance) for eye in (eyes.left, eyes.right))
        return replace(face_of_eyes(first, second, face.width), score=float(1 / (1 + np.exp(SURE - 2 - confidence))))


def _locate_eyes(grey: FloatArray, left: float, top: float, side: float) -> tuple[Eyes, float] | None:
    """The most likely eyes in a window, and the maximum logit of the verifier over all pairs of eyes."""
    pairs = eye_pairs(grey, left, top, side)
    if not pairs:
        return None
    weights, bias = _verifier()
    features = np.stack([oriented_gradients(standard_window(grey, pair.left, pair.right)) for pair in pairs])
    logits = features @ weights + bias
    return pairs[int(np.argmax(logits + np.array([pair.score for pair in pairs])))], float(logits.max())


def windows(grey: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """(left, top, side) of every window that passes the cascade, in an (H, W) image and in its mirror image."""
    height, width = grey.shape
    if min(height, width) <= SMALLEST:
        return []
    found = []
    for mirrored in (False, True):
        picture = np.ascontiguousarray(grey[:, ::-1]) if mirrored else grey
        largest = (min(height, width),) * 2
        rows = _cascade().detect_multi_scale(
            img=picture,
            scale_factor=1.15,
            step_ratio=1,
            min_size=(int(SMALLEST),) * 2,
            max_size=largest,
            min_neighbor_number=1,
            intersection_score_threshold=0.99999,
        )
        for row in rows:
            left = width - row["c"] - row["width"] if mirrored else row["c"]
            found.append(np.array([left, row["r"], row["width"]], float))
    return found


def grouped(found: Sequence[NDArray[np.float64]]) -> list[list[NDArray[np.float64]]]:
    """Group windows of similar position and size."""
    groups: list[list[NDArray[np.float64]]] = []
    for window in sorted(found, key=lambda each: (-each[2], each[1], each[0])):
        for group in groups:
            left, top, side = np.mean(np.stack(group), axis=0)
            apart = np.hypot(window[0] + window[2] / 2 - left - side / 2, window[1] + window[2] / 2 - top - side / 2)
            if apart < SAME_PLACE * side and side / window[2] < SAME_SIZE:
                group.append(window)
                break
        else:
            groups.append([window])
    return groups


def face_of_eyes(left: tuple[float, float], right: tuple[float, float], side: float) -> Face:
    """A frontal face with these eyes; nose and mouth are those of the mean face.

    Its size is the mean of the estimates from the eyes and from the detector's window, each of which has an error of
    about 10 %.
    """
    first, second = np.array(left), np.array(right)
    between, eyes = second - first, TEMPLATE[1] - TEMPLATE[0]
    distance = (float(np.hypot(*between)) + side / BOX_OF_EYES) / 2
    angle = float(np.arctan2(between[1], between[0]))
    turn = (
        distance
        / float(np.hypot(*eyes))
        * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    )
    middle = (first + second) / 2
    points = (TEMPLATE - TEMPLATE[:2].mean(0)) @ turn.T + middle
    centre = middle + turn @ (0, 60)
    side = BOX_OF_EYES * distance
    a, b, c, d, e = ((float(x), float(y)) for x, y in points)
    return Face(float(centre[0] - side / 2), float(centre[1] - side / 2), side, side, (a, b, c, d, e))


def _face_of(row: NDArray[np.float32], score: float) -> Face:
    """The face in one row of YuNet's output: box, eyes, nose, mouth corners; the left one in the image first."""
    values = [float(value) for value in row[:14]]
    a, b, c, d, e = zip(values[4::2], values[5::2], strict=True)
    return Face(values[0], values[1], values[2], values[3], (a, b, c, d, e), score)


def _sorted(faces: Sequence[Face]) -> tuple[Face, ...]:
    return tuple(sorted(faces, key=lambda face: -face.size))


def _without_duplicates(faces: Sequence[Face]) -> list[Face]:
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        x, y = face.centre
        if all(overlap(face, other) < 0.25 and not _within(x, y, other) for other in kept):
            kept.append(face)
    return kept


def _within(x: float, y: float, face: Face) -> bool:
    return face.left < x < face.left + face.width and face.top < y < face.top + face.height


def _reduced(pixels: FloatArray, side: int) -> tuple[FloatArray, float]:
    """The image with at most `side` pixels per side, and its scale."""
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale == 1:
        return pixels, 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), scale


@cache
def _cascade() -> Any:
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())


@cache
def _verifier() -> tuple[FloatArray, float]:
    """Weights (800,) and bias."""
    if not VERIFIER.is_file():
        raise WeightsMissing(f"{VERIFIER} is missing", "install restore4k again")
    from safetensors.numpy import load_file

    arrays = load_file(VERIFIER)
    return arrays["weight"].astype(np.float32), float(arrays["bias"][0])
