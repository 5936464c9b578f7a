"""NIQE (Mittal, Soundararajan, Bovik, IEEE SPL 2013): distance of local statistics from those of good photos.

Follows the authors' MATLAB release, so that its published parameters give its published values; the parameters
shipped here are our own (`python -m training.fits.niqe`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray
from imaging.image import Image
from imaging.pixels import CHUNK_PIXELS, drop_pages
from iqa.errors import BadParameters, ImageTooSmall
from iqa.luma import luma_255
from iqa.metric import Metric
from iqa.parameters import reading

Matrix: TypeAlias = NDArray[np.float64]

BLOCK = 96
FEATURES = 36
SMALLEST_SIDE = 32
WORST = 100.0
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Shifts to the neighbours whose products are modelled: right, below, and the two diagonals."""
HALVING = np.array([-0.0234375, -0.0703125, 0.2265625, 0.8671875], np.float32)[[0, 1, 2, 3, 3, 2, 1, 0]] / 2
"""Keys' cubic (a = -0.5) stretched by two and sampled at half pixels: MATLAB's imresize(x, 0.5)."""


@dataclass(frozen=True, slots=True)
class NiqeModel:
    """The Gaussian model of the block features of good photographs."""

    mean: Matrix
    """(36,)"""
    covariance: Matrix
    """(36, 36)"""


@cache
def default_model() -> NiqeModel:
    """The embedded model of pristine photographs. Raises `BadParameters` if its file is unusable."""
    from safetensors.numpy import load

    with reading("niqe.safetensors"):
        tensors = load((resources.files("iqa") / "niqe.safetensors").read_bytes())
        model = NiqeModel(tensors["mean"], tensors["covariance"])
    if model.mean.shape != (FEATURES,) or model.covariance.shape != (FEATURES, FEATURES):
        raise BadParameters(f"iqa/niqe.safetensors has shapes {model.mean.shape} and {model.covariance.shape}")
    return model


def niqe(image: Image) -> float:
    """NIQE of the whole image in [0, 100], lower is better; good photographs are below 4, flat images at 100.

    Raises `ImageTooSmall` below 32 pixels.
    """
    return min(WORST, distance(np.concatenate(list(_features(image)))))


def _features(image: Image) -> Iterator[Matrix]:
    """Features of all blocks, computed for some rows of blocks at a time, with one row of context on both sides."""
    block_rows, block_columns = image.height // BLOCK, image.width // BLOCK
    if min(block_rows, block_columns) < 2:
        yield block_features(luma_255(image))[0]
        return
    at_once = max(1, CHUNK_PIXELS // (BLOCK * image.width))
    for top in range(0, block_rows, at_once):
        bottom = min(block_rows, top + at_once)
        above, below = min(top, 1), min(block_rows - bottom, 1)
        rows = slice((top - above) * BLOCK, image.height if bottom == block_rows else (bottom + below) * BLOCK)
        features = block_features(luma_255(Image(image.pixels[:, rows])))[0]
        yield features[above * block_columns : len(features) - below * block_columns]
        drop_pages(image.pixels)


def niqe_of(lumas: Sequence[FloatArray], model: NiqeModel | None = None) -> float:
    """NIQE of one image given as one or more patches, each (H, W) luma in [0, 255]; lower is better, best 0.

    The blocks of all patches are pooled. Infinite for an image without texture, whose statistics are undefined.
    Raises `ImageTooSmall` below 32 pixels.
    """
    return distance(np.concatenate([block_features(patch)[0] for patch in lumas]), model)


def distance(features: Matrix, model: NiqeModel | None = None) -> float:
    """Distance of (blocks, 36) features from the model; see `niqe_of`."""
    model = model or default_model()
    defined = features[np.isfinite(features).all(axis=1)]
    if not len(defined):
        return float("inf")
    # the published code skips undefined features in the mean, but whole blocks in the covariance
    offset = model.mean - np.nanmean(features, axis=0)
    own = np.cov(defined, rowvar=False) if len(defined) > 1 else np.zeros_like(model.covariance)
    square = offset @ np.linalg.pinv((model.covariance + own) / 2) @ offset
    return float(np.sqrt(max(square, 0.0)))


def block_features(luma: FloatArray) -> tuple[Matrix, Matrix]:
    """The 36 features of each block, (blocks, 36), and each block's sharpness, (blocks,), of (H, W) luma in [0, 255].

    Blocks are 96x96; incomplete ones at the right and at the bottom are left out. Below 192 pixels of height or
    width, where fewer than two blocks fit, their side is half the shorter side. A block without variation has
    undefined (NaN) features.
    """
    shorter = min(luma.shape)
    if shorter < SMALLEST_SIDE:
        raise ImageTooSmall(f"NIQE needs {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels, got {luma.shape[1]}x{luma.shape[0]}")
    block = BLOCK if shorter >= 2 * BLOCK else shorter // 4 * 2
    rows, columns = (size // block * block for size in luma.shape)
    whole = np.ascontiguousarray(luma[:rows, :columns])
    normalised, deviation = _normalise(whole)
    half, _ = _normalise(_halve(whole))
    features = np.concatenate(
        [_statistics(_blocks(normalised, block)), _statistics(_blocks(half, block // 2))], axis=1
    )
    return features, _blocks(deviation, block).mean(axis=(1, 2), dtype=np.float64)


def _normalise(luma: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean-subtracted, contrast-normalised luma, and the local deviation; Gaussian 7x7 window of sigma 7/6."""
    import cv2

    def blur(plane: Matrix) -> Matrix:
        return np.asarray(cv2.GaussianBlur(plane, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE), np.float64)

    # in float64, because rounding errors of float32 would look like texture in flat areas
    exact = luma.astype(np.float64)
    mean = blur(exact)
    deviation = np.sqrt(np.abs(blur(exact * exact) - mean * mean))
    return ((exact - mean) / (deviation + 1)).astype(np.float32), deviation.astype(np.float32)


def _halve(luma: FloatArray) -> FloatArray:
    import cv2

    # eight taps anchored at the fourth: output 2i is centred between pixels 2i and 2i + 1
    filtered = cv2.sepFilter2D(luma, -1, HALVING, HALVING, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(filtered[::2, ::2], np.float32)


def _blocks(plane: FloatArray, block: int) -> FloatArray:
    """(H, W) -> (blocks, block, block)."""
    rows, columns = plane.shape[0] // block, plane.shape[1] // block
    tiled = plane.reshape(rows, block, columns, block).swapaxes(1, 2)
    return np.ascontiguousarray(tiled).reshape(rows * columns, block, block)


def _statistics(blocks: FloatArray) -> Matrix:
    """The 18 features of each block at one scale: shape and scale of the values and of products of neighbours."""
    shape, left, right = _asymmetric_gaussian(blocks)
    features = [shape, (left + right) / 2]
    for shift in SHIFTS:
        shape, left, right = _asymmetric_gaussian(blocks * np.roll(blocks, shift, axis=(1, 2)))
        mean = (right - left) * _gamma(2 / shape) / _gamma(1 / shape)
        features += [shape, mean, left, right]
    return np.stack(features, axis=1)


def _asymmetric_gaussian(blocks: FloatArray) -> tuple[Matrix, Matrix, Matrix]:
    """Moment fit of an asymmetric generalised Gaussian per block (Lasmar 2009): shape, left and right scale."""
    values = blocks.reshape(len(blocks), -1)
    negative = np.minimum(values, 0)
    negative_squares = np.einsum("ij,ij->i", negative, negative).astype(np.float64)
    squares = np.einsum("ij,ij->i", values, values).astype(np.float64)
    absolute = np.abs(values).mean(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt(negative_squares / np.count_nonzero(values < 0, axis=1))
        right = np.sqrt((squares - negative_squares) / np.count_nonzero(values > 0, axis=1))
        skew = left / right
        moment = absolute**2 / (squares / values.shape[1]) * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes, moments, scales = _shape_table()
    nearest = np.clip(np.searchsorted((moments[1:] + moments[:-1]) / 2, moment), 0, len(shapes) - 1)
    shape = np.where(np.isfinite(moment), shapes[nearest], np.nan)
    return shape, left * scales[nearest], right * scales[nearest]


@cache
def _shape_table() -> tuple[Matrix, Matrix, Matrix]:
    """Shapes 0.2 to 10, the moment ratio of each (increasing), and its scale per unit of standard deviation."""
    shapes = np.arange(200, 10001) / 1000
    moments = _gamma(2 / shapes) ** 2 / (_gamma(1 / shapes) * _gamma(3 / shapes))
    return shapes, moments, np.sqrt(_gamma(1 / shapes) / _gamma(3 / shapes))


def _gamma(values: Matrix) -> Matrix:
    """The gamma function of positive values, from torch: importing scipy takes longer than measuring a picture."""
    import torch

    result: Matrix = torch.from_numpy(values).lgamma().exp().numpy()
    return result


METRICS = (
    Metric(
        name="niqe",
        higher_is_better=False,
        range=(0.0, WORST),
        reference="none",
        about="Distance of local statistics from those of good photographs; noise, blur and artifacts raise it.",
        measure=niqe,
    ),
)
