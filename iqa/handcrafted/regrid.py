"""Features of JPEG compression in images that were resized afterwards: a grid with a period other than 8."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from imaging.convert import FloatArray
from iqa.handcrafted.inputs import MeasurementInputs

Numbers = NDArray[np.float64]
PERIODS = np.exp(np.linspace(np.log(3.6), np.log(13.0), 400))
"""Periods of the block grid in pixels, after resizing by 0.45 to 1.6."""
HARMONICS = 3
LENGTH = 8192
"""Length to which a series is zero-padded, so that its spectrum resolves every period."""
TREND = 25
"""Columns of the moving average that is subtracted as the trend."""
NEARBY = 61
"""Number of nearby periods whose median power is the expected one."""
STANDING_OUT = 4.0
"""Levels of 255 to which differences are clipped, so that edges of objects do not outweigh those of blocks."""


def regrid(inputs: MeasurementInputs) -> dict[str, float]:
    """The strongest periodic artifact (as in Popescu and Farid 2005), and its period in pixels.

    A series has, for each column, the mean excess of its difference over both neighbours. The logarithms of its power
    at the period, a half and a third of it, relative to nearby periods, are summed over both directions.
    """
    total = np.sum([_excess(inputs.lumas), _excess([luma.T for luma in inputs.lumas])], axis=0)
    return {"regrid_log": float(total.max()), "regrid_px": float(PERIODS[total.argmax()])}


def _excess(lumas: tuple[FloatArray, ...] | list[FloatArray]) -> Numbers:
    """For each period, the sum of the log powers of its harmonics, relative to the median of nearby periods."""
    power = np.sum([_power(luma) for luma in lumas], axis=0)
    padded = np.pad(power, ((0, 0), (NEARBY // 2, NEARBY // 2)), mode="edge")
    usual = np.median(sliding_window_view(padded, NEARBY, axis=1), axis=2)
    return np.asarray(np.log((power + 1e-9) / (usual + 1e-9)).sum(axis=0))


def _power(luma: FloatArray) -> Numbers:
    """(harmonics, periods): power of the series."""
    steps = np.abs(np.diff(luma, axis=1))
    over = steps[:, 1:-1] - np.maximum(steps[:, :-2], steps[:, 2:])
    series = np.clip(over, 0, STANDING_OUT).mean(axis=0, dtype=np.float64)
    trend = np.convolve(np.pad(series, TREND // 2, mode="symmetric"), np.full(TREND, 1 / TREND), "valid")
    series = (series - trend) * np.hanning(len(series))
    spectrum = np.abs(np.fft.rfft(series, LENGTH)) ** 2
    places = np.rint(np.arange(1, HARMONICS + 1)[:, None] * LENGTH / PERIODS).astype(int)
    return np.asarray(spectrum[np.minimum(places, len(spectrum) - 1)])
