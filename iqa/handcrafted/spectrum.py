"""Features of blur in the mean power spectrum: its decay, by direction, and the zeros of blur kernels."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray
from iqa.handcrafted.inputs import MeasurementInputs

Spectrum: TypeAlias = NDArray[np.float64]

SIZES = (128, 64, 32)
MOST_PATCHES = 48
BANDS = ((1 / 32, 1 / 16), (1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2))
SECTORS = 8
LONGEST = 40
SHORTEST = 4


def spectrum(inputs: MeasurementInputs) -> dict[str, float]:
    """The decay of power per octave in dB, over all directions and in the extreme ones, and two dips of the cepstrum.

    A kernel with zeros at regular distances gives a dip in the cepstrum at the length of the kernel: on a line for
    motion blur, on a ring for defocus (Cannon 1976). Both are in nepers of the mean log spectrum.
    """
    power, logarithm = _averaged(inputs)
    radius, angle = _polar(len(power))
    floor = float(np.percentile(power[radius > 0.4], 5))
    clean = np.maximum(power - floor, floor * 1e-3 + 1e-9)
    bands = [10 * np.log10(clean[(radius >= low) & (radius < high)].mean()) for low, high in BANDS]
    sector = np.rint(angle / np.pi * SECTORS).astype(int) % SECTORS
    fine, coarse = (radius >= 1 / 8) & (radius < 1 / 3), (radius >= 1 / 24) & (radius < 1 / 8)
    falls = [
        10 * np.log10(clean[coarse & (sector == s)].mean() / clean[fine & (sector == s)].mean())
        for s in range(SECTORS)
    ]
    line, ring = _cepstral_dips(logarithm, radius)
    return {
        "spectrum_fall_to_16px_db": float(bands[0] - bands[1]),
        "spectrum_fall_to_8px_db": float(bands[1] - bands[2]),
        "spectrum_fall_to_4px_db": float(bands[2] - bands[3]),
        "spectrum_floor_db": 10 * float(np.log10(floor + 1e-3)),
        "spectrum_steepest_direction_db": float(max(falls)),
        "spectrum_flattest_direction_db": float(min(falls)),
        "cepstrum_line_dip": line,
        "cepstrum_ring_dip": ring,
    }


def _averaged(inputs: MeasurementInputs) -> tuple[Spectrum, Spectrum]:
    """Mean power and mean log power of windowed patches, each (n, n), with the largest n that fits all patches."""
    shortest = min(min(luma.shape) for luma in inputs.lumas)
    size = next(size for size in SIZES if size <= shortest)
    patches = np.stack([patch for luma in inputs.lumas for patch in _patches(luma, size)])
    patches = patches[np.argsort(-patches.var(axis=(1, 2)))[:MOST_PATCHES]]
    window = np.hanning(size + 2)[1:-1]
    window = np.outer(window, window).astype(np.float32)
    patches = (patches - patches.mean(axis=(1, 2), keepdims=True)) * window / np.sqrt((window**2).sum())
    powers = np.abs(np.fft.fft2(patches)) ** 2
    return powers.mean(axis=0), np.log(powers + 0.1).mean(axis=0)


def _patches(luma: FloatArray, size: int) -> list[FloatArray]:
    step = size // 2
    return [
        luma[top : top + size, left : left + size]
        for top in range(0, luma.shape[0] - size + 1, step)
        for left in range(0, luma.shape[1] - size + 1, step)
    ]


def _cepstral_dips(logarithm: Spectrum, radius: Spectrum) -> tuple[float, float]:
    size = len(logarithm)
    band = radius < 0.45
    rings = np.minimum((radius * size).astype(int), size)
    counts = np.maximum(np.bincount(rings.ravel()), 1)
    mean = (np.bincount(rings.ravel(), logarithm.ravel()) / counts)[rings]
    cepstrum = np.fft.ifft2(np.where(band, logarithm - mean, 0)).real
    isotropic = np.fft.ifft2(np.where(band, mean - _smooth(mean), 0)).real
    distance = np.hypot(*np.meshgrid(*(2 * [np.minimum(np.arange(size), size - np.arange(size))])))
    region = (distance >= SHORTEST) & (distance <= min(LONGEST, size // 3))
    ring = np.rint(distance[region]).astype(int)
    profile = np.bincount(ring, isotropic[region]) / np.maximum(np.bincount(ring), 1)
    return float(-cepstrum[region].min()), float(-profile.min())


def _smooth(plane: Spectrum) -> Spectrum:
    import cv2

    smooth: Spectrum = np.fft.ifftshift(cv2.GaussianBlur(np.fft.fftshift(plane), (0, 0), len(plane) / 12))
    return smooth


@cache
def _polar(size: int) -> tuple[Spectrum, Spectrum]:
    """Frequency in cycles per pixel and its direction in [0, pi), for an FFT of that size."""
    y, x = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    return np.hypot(x, y), np.arctan2(y, x) % np.pi
