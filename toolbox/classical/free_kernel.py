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
"""A thin kernel with a tail is preferred unless the residual without it is smaller by a twentieth, because a missing
tail shifts the image. A wide kernel may fade by chance, so its tail must reduce the residual.
"""


_latest: dict[bytes, tuple[FloatArray, bool]] = {}
"""Cache of the last image, because several experts estimate the same kernel in turn."""


def free_kernel(plane: FloatArray, token: ProgressToken) -> tuple[FloatArray, bool]:
    """The kernel (k, k), sum 1, of a blurred image (H, W) in [0, 1], and whether it has a known shape.

    There are two estimates, each also with a tail where it fades to one side; the one with the smallest residual for
    a latent image of few edges is returned. For an image that is too small the kernel is (1, 1).
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
