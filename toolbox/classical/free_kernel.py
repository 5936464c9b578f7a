"""Blind estimation of a kernel of any shape from one blurred image."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.edge_prediction import kernel_by_edge_prediction
from toolbox.classical.l0_gradient import kernel_by_l0_gradient, l0_sharpened
from toolbox.classical.streaks import fades, is_thin, with_tail

COST = 1e-3
"""Cost of an edge pixel when kernels are compared."""
KNOWN_SHAPE_FACTOR = 0.95
"""Factor of the residual of a thin kernel with a tail: preferred unless the residual without the tail is smaller by
a twentieth, because a missing tail shifts the image. A wide kernel may fade by chance, so it has no such factor.
"""


_latest: dict[bytes, tuple[FloatArray, bool]] = {}
"""Cache of the last image, because several experts estimate the same kernel in turn."""


def free_kernel(plane: FloatArray, token: ProgressToken) -> tuple[FloatArray, bool]:
    """The kernel (k, k), sum 1, of a blurred image (H, W) in [0, 1], and whether it is a half Gaussian.

    There are two estimates; an estimate that fades to one side is also tried with a tail. The candidate that explains
    the image best by a latent image with few edges is returned; (1, 1) if the image is too small.
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
    candidates = [(kernel, False) for kernel in found] + [(with_tail(kernel), True) for kernel in fading]
    factors = [1.0 for _ in found] + [KNOWN_SHAPE_FACTOR if is_thin(kernel) else 1.0 for kernel in fading]
    errors = [_residual(plane, kernel) * factor for (kernel, _), factor in zip(candidates, factors, strict=True)]
    return candidates[int(np.argmin(errors))]


def _residual(plane: FloatArray, kernel: FloatArray) -> float:
    again = cv2.filter2D(l0_sharpened(plane, kernel, COST), -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT)
    return float(((again - plane) ** 2).mean())
