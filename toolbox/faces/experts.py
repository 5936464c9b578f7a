"""Classical experts for an aligned face crop: they clean and sharpen what is there, and redraw nothing."""

from __future__ import annotations

import numpy as np

from imaging.control import Control
from imaging.convert import FloatArray
from toolbox.classical.denoising import wavelet_bayes
from toolbox.classical.filters import guided_filter, luma, with_luma

GAIN, FINE_GAIN = 0.8, 0.5
EDGE = 1e-3
"""Variance of luma from which the guided filter takes something for an edge."""


def sharpen(pixels: FloatArray, control: Control) -> FloatArray:
    """More of the detail at two scales, by the guided filter (He et al. 2013), so that edges get no halo."""
    control.report(0.0)
    plane = luma(pixels)
    coarse = guided_filter(plane, plane, 8, EDGE)
    control.report(0.5)
    fine = guided_filter(plane, plane, 3, EDGE)
    return with_luma(pixels, np.clip(plane + GAIN * (fine - coarse) + FINE_GAIN * (plane - fine), 0, 1))


def clean_and_sharpen(pixels: FloatArray, control: Control) -> FloatArray:
    """Wavelet denoising (BayesShrink), then the same: for small faces enlarged with their noise."""
    control.report(0.0)
    return sharpen(wavelet_bayes(pixels, control)(pixels), control.part(0.7, 1.0))
