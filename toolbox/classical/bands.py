"""Slow filters over large pictures: in bands of rows, so that progress is told and a cancel is heard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from imaging.control import Control
from imaging.convert import FloatArray

PIXELS_PER_BAND = 200_000


def in_bands(
    pixels: FloatArray, function: Callable[[FloatArray], FloatArray], overlap: int, control: Control
) -> FloatArray:
    """Run a same-size filter over bands of rows. The result is that of the whole picture, as long as the filter
    looks no further than `overlap` rows.
    """
    height, width = pixels.shape[:2]
    rows = max(16, PIXELS_PER_BAND // width)
    output = np.empty_like(pixels)
    for top in range(0, height, rows):
        control.report(top / height)
        bottom = min(height, top + rows)
        start, stop = max(0, top - overlap), min(height, bottom + overlap)
        output[top:bottom] = function(pixels[start:stop])[top - start : top - start + bottom - top]
    control.report(1.0)
    return output
