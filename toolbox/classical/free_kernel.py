"""The kernel of a blur of any shape, from one blurred picture alone."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.edge_prediction import kernel_by_edge_prediction
from toolbox.classical.l0_gradient import kernel_by_l0_gradient, l0_sharpened
from toolbox.classical.streaks import fades, is_thin, with_its_tail

COST = 1e-3
"""Of an edge, where kernels are compared."""
LEAD_OF_KNOWN = 0.95
"""The tail of a thin kernel wins unless the kernel without it leaves a twentieth less unexplained: if it is missed,
all is shifted. A wide one may fade by chance, and its tail must explain more outright.
"""


_latest: dict[bytes, tuple[FloatArray, bool]] = {}
"""What was found of the last picture: experts ask one after the other."""


def free_kernel(plane: FloatArray, token: ProgressToken) -> tuple[FloatArray, bool]:
    """(k, k) kernel, sum 1, of a blurred picture (H, W) in [0, 1], and whether its shape is a known one.

    Of two estimates, each as it is and, where it fades to one side, with its tail, that by which a picture of few
    edges explains best what is seen. A picture that is too small gives (1, 1).
    """
    picture = hashlib.sha256(plane.tobytes()).digest()
    known = _latest.get(picture)
    if known is None:
        known = _search(plane, token)
        _latest.clear()
        _latest[picture] = known
    return known


def _search(plane: FloatArray, token: ProgressToken) -> tuple[FloatArray, bool]:
    found = [kernel_by_edge_prediction(plane, token), kernel_by_l0_gradient(plane, token)]
    fading = [kernel for kernel in found if fades(kernel)]
    candidates = [(kernel, False) for kernel in found] + [(with_its_tail(kernel), True) for kernel in fading]
    leads = [1.0 for _ in found] + [LEAD_OF_KNOWN if is_thin(kernel) else 1.0 for kernel in fading]
    errors = [_unexplained(plane, kernel) * lead for (kernel, _), lead in zip(candidates, leads, strict=True)]
    return candidates[int(np.argmin(errors))]


def _unexplained(plane: FloatArray, kernel: FloatArray) -> float:
    again = cv2.filter2D(l0_sharpened(plane, kernel, COST), -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT)
    return float(((again - plane) ** 2).mean())
