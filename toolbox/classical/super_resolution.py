"""Classical super-resolution: Lanczos resampling and iterative back-projection."""

from __future__ import annotations

import cv2
import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray, from_numpy, to_numpy
from imaging.progress import ProgressToken
from toolbox.classical.filters import Filter, guided_filter


def lanczos_2x(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Lanczos-3 at 2x."""
    return lambda tile: _lanczos(tile, 2)


def lanczos_4x(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Lanczos-3 at 4x."""
    return lambda tile: _lanczos(tile, 4)


def back_projection_2x(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Iterative back-projection (Irani & Peleg 1991) at 2x."""
    return lambda tile: _back_projection(tile, 2, token.watched_by(None))


def back_projection_4x(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Iterative back-projection (Irani & Peleg 1991) at 4x."""
    return lambda tile: _back_projection(tile, 4, token.watched_by(None))


def sharp_edges_2x(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Iterative back-projection with edge sharpening at 2x."""
    return lambda tile: _sharp_edges(tile, 2, token.watched_by(None))


def sharp_edges_4x(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Iterative back-projection with edge sharpening at 4x."""
    return lambda tile: _sharp_edges(tile, 4, token.watched_by(None))


def _lanczos(pixels: FloatArray, scale: int) -> FloatArray:
    import torch

    size = pixels.shape[0] * scale, pixels.shape[1] * scale
    enlarged = torch.nn.functional.interpolate(from_numpy(pixels)[None], size=size, mode="lanczos", antialias=True)
    return to_numpy(enlarged[0].clamp(0, 1))


def _back_projection(pixels: FloatArray, scale: int, token: ProgressToken, rounds: int = 6) -> FloatArray:
    result = _enlarged(pixels, scale)
    for done in range(rounds):
        token.report(done / rounds)
        result = np.clip(result + _enlarged(pixels - _shrunk(result, pixels), scale), 0, 1)
    return result


def _sharp_edges(pixels: FloatArray, scale: int, token: ProgressToken) -> FloatArray:
    """Each iteration sharpens the details above the scale of a guided filter, then back-projects the error."""
    result = _back_projection(pixels, scale, token.part(0.0, 0.4), rounds=2)
    rounds = 3
    for done in range(rounds):
        token.report(0.4 + 0.6 * done / rounds)
        plane = luma(result)
        detail = plane - guided_filter(plane, plane, scale, 2e-3)
        result = np.clip(result + 0.5 * detail[:, :, None], 0, 1)
        result = np.clip(result + _enlarged(pixels - _shrunk(result, pixels), scale), 0, 1)
    return result


def _enlarged(pixels: FloatArray, scale: int) -> FloatArray:
    size = (pixels.shape[1] * scale, pixels.shape[0] * scale)
    enlarged: FloatArray = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    return enlarged


def _shrunk(result: FloatArray, pixels: FloatArray) -> FloatArray:
    """Reduce to the size of the input by antialiased bicubic resampling, as in the literature."""
    from imaging.resizing import resize

    return to_numpy(resize(from_numpy(result), *pixels.shape[:2]))
