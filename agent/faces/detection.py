"""Detection of the faces of a picture, the models for it, and the severity of their degradation."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from math import log2
from typing import TYPE_CHECKING, Literal

from agent.state import Finding
from imaging.convert import FloatArray, from_numpy, to_numpy
from imaging.image import Image
from imaging.resizing import fitted, resize
from iqa.features import extract_features
from iqa.quality import combine, predicted_fidelity
from toolbox.errors import WeightsMissing
from toolbox.faces.face import Face
from toolbox.faces.models import face_models, path_of
from toolbox.store import ModelStore
from toolbox.tasks import Severity

if TYPE_CHECKING:
    from toolbox.faces.detection import Detector
    from toolbox.faces.identity import Identity
    from toolbox.faces.quality import FaceQuality

EMBEDDED_QUALITY = "general quality of the middle of the face"
MIDDLE = slice(128, 416)
"""Rows and columns of an aligned crop, from brows to chin."""
FINE_PIXELS = 256.0
"""Side of a face, in pixels, from which it needs no restoration."""
DETECTION_SIDE = 1600
FoundIn = Literal["original", "input", "both"]
log = logging.getLogger("restore4k")


@dataclass(frozen=True, slots=True)
class FaceTools:
    """The best installed models for faces."""

    detector: Detector
    identity: Identity
    published_quality: FaceQuality | None

    @property
    def quality_name(self) -> str:
        """Name of the face quality metric, for the report."""
        return self.published_quality.name if self.published_quality else EMBEDDED_QUALITY

    def quality(self, crop: FloatArray) -> float:
        """Quality of an aligned crop, (512, 512, 3) in [0, 1]; 0..1, higher is better."""
        if self.published_quality:
            return self.published_quality(crop)
        # The no-reference prediction was not trained on enlarged faces and ranks cleaned ones too low.
        features = extract_features(Image(from_numpy(crop[MIDDLE, MIDDLE])))
        return combine(
            {"niqe": features.handcrafted["niqe"], "predicted_fidelity": predicted_fidelity(features, None)}
        )


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face, in pixels of the step's input."""

    face: Face
    found_in: FoundIn


def face_tools(store: ModelStore) -> FaceTools:
    """Published models if their files are in the store, otherwise the embedded ones. Raises `WeightsError`."""
    return _loaded(store, tuple(name for name in face_models() if path_of(name, store)))


@cache
def _loaded(store: ModelStore, present: tuple[str, ...]) -> FaceTools:
    """Load the models; cached by the files present, so that new ones are noticed."""
    from toolbox.faces.detection import load_detector
    from toolbox.faces.identity import load_identity
    from toolbox.faces.quality import load_face_quality

    return FaceTools(load_detector(store), load_identity(store), load_face_quality(store))


def find_faces(image: Image, original: Image, tools: FaceTools) -> tuple[FoundFace, ...]:
    """The faces of a step's input, including those found only in the original, the largest first.

    The two lists are matched by position.
    """
    from toolbox.faces.matching import match

    x, y = image.width / original.width, image.height / original.height
    now = _detected(image, tools)
    if original is image:
        return tuple(FoundFace(face, "both") for face in now)
    before = tuple(face.scaled(x, y) for face in _detected(original, tools))
    matches = match(before, now)
    found = [FoundFace(now[second], "both") for _, second in matches.pairs]
    found += [FoundFace(now[index], "input") for index in matches.only_second]
    found += [FoundFace(before[index], "original") for index in matches.only_first]
    return tuple(sorted(found, key=lambda each: -each.face.size))


def _detected(image: Image, tools: FaceTools) -> tuple[Face, ...]:
    """The faces of a picture, detected on a copy with a long side of at most `DETECTION_SIDE`."""
    if image.long_side <= DETECTION_SIDE:
        return tools.detector(to_numpy(image.pixels))
    small = to_numpy(resize(image.pixels, *fitted(image.height, image.width, DETECTION_SIDE)))
    x, y = image.width / small.shape[1], image.height / small.shape[0]
    return tuple(face.scaled(x, y) for face in tools.detector(small))


def face_finding(image: Image, store: ModelStore | None = None) -> Finding | None:
    """The severity of the degradation of faces; None if no face is large enough or no detector is installed.

    Small faces stay blurred when enlarged: the severity rises by one for every halving below 256 pixels.
    """
    tools = face_tools(store or ModelStore())
    try:
        faces = [face for face in _detected(image, tools) if not face.is_too_small]
    except WeightsMissing as error:
        log.warning("faces are not detected: %s", error)
        return None
    if not faces:
        return None
    smallest, largest = faces[-1].size, faces[0].size
    severity = Severity(round(min(4.0, max(0.0, log2(FINE_PIXELS / smallest)))))
    return Finding(
        severity=severity,
        confidence=max(face.score for face in faces),
        measurements={
            "faces_count": float(len(faces)),
            "smallest_face_px": round(smallest, 1),
            "largest_face_px": round(largest, 1),
        },
    )
