"""The kernel of a blur of any shape, from one blurred picture alone."""

from __future__ import annotations

import hashlib

import cv2

from imaging.control import Control
from imaging.convert import FloatArray
from toolbox.classical.few_edges import few_edges, from_few_edges
from toolbox.classical.sharpened_edges import from_sharpened_edges
from toolbox.classical.streaks import with_its_tail

COST = 1e-3
"""Of an edge, where kernels are compared."""


_latest: dict[bytes, tuple[FloatArray, bool]] = {}
"""What was found of the last picture: experts ask one after the other."""


def free_kernel(plane: FloatArray, control: Control) -> tuple[FloatArray, bool]:
    """(k, k) kernel, sum 1, of a blurred picture (H, W) in [0, 1], and whether its shape is a known one.

    Of two estimates, each with its tail if it has one, that by which a picture of few edges explains better what is
    seen. On 25 pieces of 448 pixels of held-out photos, total variation reaches 28.9 dB with it; with either alone
    28.3 and 28.6 dB, with the better one each time 29.0 dB, and 32.5 dB with the true kernel. A picture that is too
    small gives (1, 1).
    """
    picture = hashlib.sha256(plane.tobytes()).digest()
    known = _latest.get(picture)
    if known is None:
        known = _search(plane, control)
        _latest.clear()
        _latest[picture] = known
    return known


def _search(plane: FloatArray, control: Control) -> tuple[FloatArray, bool]:
    found = [from_sharpened_edges(plane, control), from_few_edges(plane, control)]
    candidates = [(with_its_tail(kernel), kernel) for kernel in found]
    best, as_found = min(candidates, key=lambda candidate: _unexplained(plane, candidate[0]))
    return best, best is not as_found


def _unexplained(plane: FloatArray, kernel: FloatArray) -> float:
    again = cv2.filter2D(few_edges(plane, kernel, COST), -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT)
    return float(((again - plane) ** 2).mean())
