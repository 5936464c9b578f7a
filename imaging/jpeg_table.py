"""The DCT and the standard quantization table of JPEG, and the quantization of a file relative to it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 8
"""Side of a block in pixels."""
STANDARD_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
"""The example steps for luminance in the standard (ITU-T T.81, annex K.1), which encoders use at quality 50."""


@cache
def dct_basis() -> NDArray[np.float32]:
    """(8, 8): the orthonormal DCT-II."""
    frequency, place = np.indices((BLOCK, BLOCK))
    basis = np.cos(np.pi / BLOCK * (place + 0.5) * frequency) / 2
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)


def quantization_relative_to_q50(tables: Any) -> float | None:
    """Luminance quantization relative to quality 50, from the tables that Pillow reads.

    The median over the 64 coefficients; None if there is no complete table.
    """
    try:
        steps = np.asarray(tables[0], np.float32)
    except (TypeError, KeyError, IndexError, ValueError):
        return None
    return float(np.median(steps / STANDARD_TABLE.ravel())) if steps.shape == (64,) else None
