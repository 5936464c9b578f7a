"""Features of JPEG compression in pictures that were brought to another size since: a grid of some other period."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray
from iqa.handcrafted.inputs import MeasurementInputs

Numbers = NDArray[np.float64]
PERIODS = np.exp(np.linspace(np.log(3.6), np.log(13.0), 400))
"""Pixels between the edges of blocks that were 8 pixels large: after 0.45 to 1.6 times the size."""
HARMONICS = 3
LENGTH = 8192
"""Columns that a series is filled up to, so that its spectrum has every period."""
TREND = 25
"""Columns over which a slow trend is taken away."""
NEARBY = 61
"""Periods whose median is what is usual."""
STANDING_OUT = 4.0
"""Levels of 255 above which a step counts no more; edges of things are not to outweigh those of blocks."""


def regrid(inputs: MeasurementInputs) -> dict[str, float]:
    """How much steps between pixels stand out at any one regular distance, and at which.

    Of each column, by how much its step exceeds both neighbours'; the spectrum of this series (periodic artifacts, as
    Popescu and Farid 2005 look for) relative to nearby periods, for the period, its half and its third, both ways:
    the sum of the logarithms, at its largest.
    """
    total = np.sum([_excess(inputs.lumas), _excess([luma.T for luma in inputs.lumas])], axis=0)
    return {"regrid_log": float(total.max()), "regrid_px": float(PERIODS[total.argmax()])}


def _excess(lumas: tuple[FloatArray, ...] | list[FloatArray]) -> Numbers:
    """For each period, the logarithm of its power and that of its harmonics, over what is usual nearby."""
    from scipy.ndimage import median_filter

    power = np.sum([_power(luma) for luma in lumas], axis=0)
    usual = median_filter(power, (1, NEARBY), mode="nearest")
    return np.asarray(np.log((power + 1e-9) / (usual + 1e-9)).sum(axis=0))


def _power(luma: FloatArray) -> Numbers:
    """(harmonics, periods)."""
    from scipy.ndimage import uniform_filter1d

    steps = np.abs(np.diff(luma, axis=1))
    over = steps[:, 1:-1] - np.maximum(steps[:, :-2], steps[:, 2:])
    series = np.clip(over, 0, STANDING_OUT).mean(axis=0, dtype=np.float64)
    series = (series - uniform_filter1d(series, TREND)) * np.hanning(len(series))
    spectrum = np.abs(np.fft.rfft(series, LENGTH)) ** 2
    places = np.rint(np.arange(1, HARMONICS + 1)[:, None] * LENGTH / PERIODS).astype(int)
    return np.asarray(spectrum[np.minimum(places, len(spectrum) - 1)])
