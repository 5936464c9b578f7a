"""The faces of a picture for the agent: who finds, compares and judges them, and how badly they are off."""

from __future__ import annotations

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
"""Rows and columns of an aligned crop from the brows to the chin."""
FINE_PIXELS = 256.0
"""Side of a face from which it is large enough to be shown as it is."""
LOOKED_AT_SIDE = 1600
FoundIn = Literal["original", "input", "both"]


@dataclass(frozen=True, slots=True)
class FaceTools:
    """The best means that are here."""

    detector: Detector
    identity: Identity
    published_quality: FaceQuality | None

    @property
    def quality_name(self) -> str:
        """What the report calls the measure of a face's quality."""
        return self.published_quality.name if self.published_quality else EMBEDDED_QUALITY

    def quality(self, crop: FloatArray) -> float:
        """Of an aligned crop, (512, 512, 3) in [0, 1]; 0..1, higher is better."""
        if self.published_quality:
            return self.published_quality(crop)
        # An enlarged face is unlike the pictures that the no-reference prediction was trained on: it takes a cleaned
        # one for worse.
        features = extract_features(Image(from_numpy(crop[MIDDLE, MIDDLE])))
        return combine(
            {"niqe": features.handcrafted["niqe"], "predicted_fidelity": predicted_fidelity(features, None)}
        )


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face in the pixels of a step's input."""

    face: Face
    found_in: FoundIn


def face_tools(store: ModelStore) -> FaceTools:
    """Full ones where their files are in the store, embedded ones otherwise. Raises `WeightsError`."""
    return _loaded(store, tuple(name for name in face_models() if path_of(name, store)))


@cache
def _loaded(store: ModelStore, present: tuple[str, ...]) -> FaceTools:
    """`present`: so that files which arrive while the program runs are noticed."""
    from toolbox.faces.detection import load_detector
    from toolbox.faces.identity import load_identity
    from toolbox.faces.quality import load_face_quality

    return FaceTools(load_detector(store), load_identity(store), load_face_quality(store))


def find_faces(image: Image, original: Image, tools: FaceTools) -> tuple[FoundFace, ...]:
    """The faces of a step's input, those included that were only found in the original, the largest first.

    Both lists are matched by position, so that it does not matter if their numbers differ.
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
    """The faces of a picture, which no detector looks at in more than so many pixels."""
    scale = min(1.0, LOOKED_AT_SIDE / image.long_side)
    if scale == 1:
        return tools.detector(to_numpy(image.pixels))
    small = to_numpy(resize(image.pixels, *fitted(image.height, image.width, LOOKED_AT_SIDE)))
    x, y = image.width / small.shape[1], image.height / small.shape[0]
    return tuple(face.scaled(x, y) for face in tools.detector(small))


def face_finding(image: Image, store: ModelStore | None = None) -> Finding | None:
    """How badly the faces of a picture need an expert; None where there are none that are large enough.

    Small ones do, because enlarging leaves them blurred: a level for every halving below 256 pixels.
    """
    tools = face_tools(store or ModelStore())
    faces = [face for face in _detected(image, tools) if not face.is_too_small]
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
