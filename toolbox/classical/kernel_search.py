"""Shared steps of blind kernel estimation: the coarse-to-fine scales and the clean-up of the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from imaging.convert import FloatArray
from imaging.progress import ProgressToken

SIDE = 35
"""Side of the largest kernel in pixels."""
SCALES = (0.25, 0.354, 0.5, 0.707, 1.0)


def coarse_to_fine(plane: FloatArray, token: ProgressToken) -> Iterator[tuple[FloatArray, int]]:
    """Yield an image (H, W) in growing sizes, each with the side of its kernel; too small sizes are skipped."""
    for done, scale in enumerate(SCALES):
        token.report(done / len(SCALES))
        side = max(3, round(SIDE * scale) | 1)
        if min(plane.shape) * scale >= 2 * side:
            yield cv2.resize(plane, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), side


def tidied(kernel: FloatArray, faint: float) -> FloatArray:
    """The largest component of a kernel (k, k), recentred; a delta kernel if nothing is left.

    Weights up to `faint` times the largest are removed first, as noise.
    """
    body = _largest_component(np.where(kernel > faint * kernel.max(), kernel, 0).astype(np.float32))
    if body.sum() > 0:
        return recentred(body / body.sum())
    body[len(body) // 2, len(body) // 2] = 1
    return body


def recentred(kernel: FloatArray) -> FloatArray:
    """The kernel with its centre of mass in the middle, so that it does not shift the image."""
    half = (kernel.shape[0] - 1) / 2
    rows, columns = np.indices(kernel.shape)
    move = np.array([[1, 0, half - (kernel * columns).sum()], [0, 1, half - (kernel * rows).sum()]], np.float32)
    moved: FloatArray = np.clip(cv2.warpAffine(kernel, move, kernel.shape[::-1], flags=cv2.INTER_LINEAR), 0, None)
    return moved / max(float(moved.sum()), 1e-8)


def _largest_component(kernel: FloatArray) -> FloatArray:
    """The largest connected component."""
    _, labels = cv2.connectedComponents((kernel > 0).astype(np.uint8), connectivity=8)
    weights = np.bincount(labels.ravel(), weights=kernel.ravel())
    keep = weights >= 0.1 * weights.max()
    keep[0] = False
    return np.where(keep[labels], kernel, 0).astype(np.float32)
