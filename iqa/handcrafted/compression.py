"""Features of JPEG compression: the 8x8 grid, zero coefficients and quantization steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray
from imaging.jpeg_table import BLOCK, STANDARD_TABLE, dct_basis
from iqa.handcrafted.inputs import MeasurementInputs

MOST_BLOCKS = 3000
STEPS = np.arange(2, 65, dtype=np.float32)
FREQUENCIES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0))
PERIODIC = 0.5
"""Mean cosine from which coefficients count as multiples of a step."""
FEWEST = 24
"""Coefficients from which a step is estimated."""


def compression(inputs: MeasurementInputs) -> dict[str, float]:
    """Visibility of a grid of period 8, and the quantization of the coefficients on it.

    `grid_excess`: probability that a difference between two pixels is a local maximum on the grid, minus that off it,
    in [0, 1]; `grid_z`: the same in standard errors of the other positions; `zero_excess`: share of zero coefficients
    on the grid, minus that off it; `quantization_relative_to_q50`: the estimated steps (Fan and de Queiroz 2003),
    relative to JPEG quality 50; 0 if the coefficients are not multiples of a step.
    """
    grid, excess, z = _grid(inputs.lumas)
    on = _coefficients(inputs.lumas, grid)
    off = _coefficients(inputs.lumas, ((grid[0] + 4) % BLOCK, (grid[1] + 4) % BLOCK))
    return {
        "grid_excess": excess,
        "grid_z": z,
        "zero_excess": _zero_share(on) - _zero_share(off),
        "quantization_relative_to_q50": _quantization(on),
    }


def quantized_grid(lumas: Sequence[FloatArray]) -> tuple[tuple[int, int], float]:
    """The most likely origin (top, left) of a grid of period 8, and its `quantization_relative_to_q50`."""
    grid, _, _ = _grid(lumas)
    return grid, _quantization(_coefficients(lumas, grid))


def dct_blocks(plane: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """(n, 8, 8) orthonormal DCT-II coefficients of the 8x8 blocks of a grid that begins at (top, left)."""
    top, left = grid
    rows, columns = (plane.shape[0] - top) // BLOCK, (plane.shape[1] - left) // BLOCK
    part = plane[top : top + rows * BLOCK, left : left + columns * BLOCK]
    blocks = part.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)
    basis = dct_basis()
    return np.asarray(basis @ blocks @ basis.T, np.float32)


def _grid(lumas: Sequence[FloatArray]) -> tuple[tuple[int, int], float, float]:
    across = np.sum([_standing_out(luma) for luma in lumas], axis=0)
    down = np.sum([_standing_out(luma.T) for luma in lumas], axis=0)
    top, left = ((int(np.argmax(_shares(counts))) + 1) % BLOCK for counts in (down, across))
    excess, z = zip(_contrast(across), _contrast(down), strict=True)
    return (top, left), float(np.mean(excess)), float(np.mean(z))


def _standing_out(luma: FloatArray) -> NDArray[np.float64]:
    """(2, 8): by position modulo 8 in a row, how many differences exceed both neighbours, and their total number."""
    steps = np.abs(np.diff(luma, axis=1))
    larger = (steps[:, 1:-1] > steps[:, :-2]) & (steps[:, 1:-1] > steps[:, 2:])
    position = np.arange(1, steps.shape[1] - 1) % BLOCK
    return np.stack(
        [
            np.bincount(position, larger.sum(axis=0), BLOCK),
            np.bincount(position, minlength=BLOCK) * float(len(luma)),
        ]
    )


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts[0] / np.maximum(counts[1], 1), np.float64)


def _contrast(counts: NDArray[np.float64]) -> tuple[float, float]:
    shares = np.sort(_shares(counts))
    excess = shares[-1] - shares[:-1].mean()
    error = max(shares[:-1].std(), np.sqrt(0.22 / np.maximum(counts[1].mean(), 1)))
    return float(excess), float(excess / error)


def _coefficients(lumas: Sequence[FloatArray], grid: tuple[int, int]) -> FloatArray:
    """The `dct_blocks` of all patches, subsampled to at most 3000."""
    every = np.concatenate([dct_blocks(luma, grid) for luma in lumas])
    return every[:: 1 + len(every) // MOST_BLOCKS]


def _zero_share(coefficients: FloatArray) -> float:
    row, column = np.indices((BLOCK, BLOCK))
    return float((np.abs(coefficients[:, row + column >= 3]) < 1).mean()) if len(coefficients) else 0.0


def _quantization(coefficients: FloatArray) -> float:
    found = []
    for row, column in FREQUENCIES:
        values = np.abs(coefficients[:, row, column])
        for step in STEPS[::-1]:
            nonzero = values[values > step / 2]
            if len(nonzero) >= FEWEST and np.cos(2 * np.pi / step * nonzero).mean() > PERIODIC:
                found.append(step / STANDARD_TABLE[row, column])
                break
        else:
            found.append(0.0)
    return float(np.median(found))
