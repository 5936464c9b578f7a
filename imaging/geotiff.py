"""GeoTIFF tags of an enlarged picture."""

from __future__ import annotations

from collections.abc import Mapping

Tags = Mapping[int, tuple[float, ...] | str]
PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, KEYS = 33550, 33922, 34264, 34735
RASTER_TYPE, POINTS = 1025, 2
"""The key that says whether coordinates refer to a pixel's corner or centre, and its value for the centre."""


def enlarged(tags: Tags, across: float, down: float) -> Tags:
    """The tags after the picture became `across` times as wide and `down` times as high."""
    result = dict(tags)
    offset = 0.5 if _are_points(tags) else 0.0
    scale, ties, matrix = tags.get(PIXEL_SCALE), tags.get(TIE_POINTS), tags.get(TRANSFORMATION)
    if isinstance(scale, tuple) and len(scale) >= 2:
        result[PIXEL_SCALE] = (scale[0] / across, scale[1] / down, *scale[2:])
    if isinstance(ties, tuple) and len(ties) % 6 == 0:
        result[TIE_POINTS] = tuple(_moved(value, index % 6, across, down, offset) for index, value in enumerate(ties))
    if isinstance(matrix, tuple) and len(matrix) == 16:
        # A pixel (i, j) of the result lies at ((i + offset) / across - offset, ...) of the original.
        shift = (offset / across - offset, offset / down - offset)
        rows = [matrix[start : start + 4] for start in range(0, 16, 4)]
        result[TRANSFORMATION] = tuple(
            value for a, b, c, d in rows for value in (a / across, b / down, c, d + a * shift[0] + b * shift[1])
        )
    return result


def _are_points(tags: Tags) -> bool:
    keys = tags.get(KEYS)
    if not isinstance(keys, tuple):
        return False
    return any(keys[at] == RASTER_TYPE and keys[at + 3] == POINTS for at in range(4, len(keys) - 3, 4))


def _moved(value: float, place: int, across: float, down: float, offset: float) -> float:
    """One number of a tie point (I, J, K, X, Y, Z)."""
    if place > 1:
        return value
    return (value + offset) * (across, down)[place] - offset
