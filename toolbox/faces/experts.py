"""Classical experts for aligned face crops: they denoise and sharpen, and generate no new features."""

from __future__ import annotations

import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray
from imaging.progress import ProgressToken
from toolbox.classical.denoising import wavelet_denoise
from toolbox.classical.filters import guided_filter, with_luma

GAIN, FINE_GAIN = 0.8, 0.5
EDGE = 1e-3
"""Variance of luma above which the guided filter preserves an edge."""


def face_sharpen(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Enhance details at two scales with the guided filter (He et al. 2013), which causes no halos at edges."""
    token.report(0.0)
    plane = luma(pixels)
    coarse = guided_filter(plane, plane, 8, EDGE)
    token.report(0.5)
    fine = guided_filter(plane, plane, 3, EDGE)
    return with_luma(pixels, np.clip(plane + GAIN * (fine - coarse) + FINE_GAIN * (plane - fine), 0, 1))


def face_clean_sharpen(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Wavelet denoising (BayesShrink), then `face_sharpen`: for small faces that were upsampled with their noise."""
    token.report(0.0)
    return face_sharpen(wavelet_denoise(pixels, token)(pixels), token.part(0.7, 1.0))
