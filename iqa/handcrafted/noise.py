"""Features of noise: the high-frequency residual of the flattest blocks, at three scales."""

from __future__ import annotations

import numpy as np

from imaging.convert import FloatArray
from iqa.handcrafted.inputs import MeasurementInputs

SCALES = (1, 2, 4)
BLOCK = 8
SECOND_DIFFERENCES = np.array([1, -2, 1], np.float32) / np.sqrt(6, dtype=np.float32)
"""Immerkaer (1996): its outer product with itself maps planes to 0 and has unit gain for white noise."""
DARKEST, BRIGHTEST = 4.0, 251.0
"""Blocks beyond these levels are clipped, and so is their noise."""
SHARES = {"flat": 10, "median": 50}


def noise(inputs: MeasurementInputs) -> dict[str, float]:
    """Noise sigma on the 0 to 255 scale, of luma and chroma, at full size and after averaging 2x2 and 4x4 pixels.

    `..._flat` is the tenth percentile over the blocks, which texture raises little, `..._median` the median. White
    noise gives equal sigmas at all scales, which are corrected for the averaging; compression lowers the finest,
    texture raises the coarser.
    """
    measured = {}
    for scale in SCALES:
        for name, patches in (("luma", inputs.lumas), ("chroma", inputs.chromas)):
            blocks = np.concatenate([_block_sigmas(patch, scale, name == "luma") for patch in patches])
            for share, percentile in SHARES.items():
                value = float(np.percentile(blocks, percentile)) if len(blocks) else 0.0
                measured[f"noise_{name}_{scale}px_{share}_sigma_255"] = value
    return measured


def _block_sigmas(plane: FloatArray, scale: int, clipped: bool) -> FloatArray:
    """The sigmas of the blocks that are not clipped, or of all blocks if nearly all are clipped."""
    import cv2

    height, width = plane.shape[0] // scale, plane.shape[1] // scale
    whole = plane[: height * scale, : width * scale]
    small = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    residual = np.abs(cv2.sepFilter2D(small, -1, SECOND_DIFFERENCES, SECOND_DIFFERENCES))
    size = max(2, min(BLOCK, height // 2, width // 2))
    sigmas = _block_means(residual, size) * np.float32(scale * np.sqrt(np.pi / 2))
    if clipped:
        levels = _block_means(small, size)
        inside = (levels > DARKEST + sigmas) & (levels < BRIGHTEST - sigmas)
        if inside.mean() > 0.05:
            return np.asarray(sigmas[inside])
    return sigmas.ravel()


def _block_means(plane: FloatArray, size: int) -> FloatArray:
    rows, columns = plane.shape[0] // size, plane.shape[1] // size
    whole = plane[: rows * size, : columns * size]
    means: FloatArray = whole.reshape(rows, size, columns, size).mean(axis=(1, 3))
    return means
