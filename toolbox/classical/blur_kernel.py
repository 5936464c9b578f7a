"""Parametric blur estimation from the power spectrum.

Photographs have a power spectrum of about a * f^b with b near -2.4 (Field 1987). A blur multiplies it by the squared
modulus of its transfer function, whose zeros depend on the radius, or on the length and angle; noise adds a constant.
The estimate is the blur whose product with a power law fits the measured spectrum best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray

WINDOW = 256
"""Side of the windows whose spectra are averaged."""
LEAST_PIXELS = 128 * 128
"""Smaller images are not deblurred. On photos of 120x80 every deconvolution lost up to 2 dB on average, up to 20 dB
for single photos.
"""
LOWEST, HIGHEST = 0.015, 0.45
"""The fitted frequency band in cycles per pixel."""
POINTS = 2500
USUAL_SLOPES = (-3.2, -1.8)
"""Exponents b of unblurred photographs; outside this range the misfit grows by 0.3 per unit."""


@dataclass(frozen=True, slots=True)
class Blur:
    """A blur: radius of a disk, sigma of a Gaussian or length of a line in pixels, and the angle of a line."""

    kind: Literal["none", "disk", "gaussian", "line"]
    size: float = 0.0
    angle_degrees: float = 0.0
    taper: float = 0.0
    """Decrease of a line's weight towards its ends; 1: a Gaussian truncated at 1.7 sigma."""

    @property
    def is_sharp(self) -> bool:
        """Whether the blur is too weak to deconvolve: lenses and downscaling cause this much."""
        return self.kind == "none" or self.size <= {"disk": 1.0, "gaussian": 0.6, "line": 3.0}[self.kind]

    def kernel(self) -> FloatArray:
        """The kernel (k, k), k odd, sum 1."""
        if self.kind == "disk":
            return _disk(self.size)
        if self.kind == "gaussian":
            side = 2 * math.ceil(3 * self.size) + 1
            profile = cv2.getGaussianKernel(side, self.size, cv2.CV_32F)
            kernel: FloatArray = profile @ profile.T
            return kernel
        if self.kind == "line":
            return _line(self.size, self.angle_degrees, self.taper)
        return np.ones((1, 1), np.float32)

    def transfer(self, fx: FloatArray, fy: FloatArray) -> FloatArray:
        """Squared modulus of the transfer function at frequencies in cycles per pixel."""
        if self.kind == "disk":
            from scipy.special import j1

            radius = self.size + 0.05  # the antialiased disk is a little wider than its radius
            phase = 2 * np.pi * radius * np.hypot(fx, fy) + 1e-6
            return np.asarray((2 * j1(phase) / phase) ** 2, np.float32)
        if self.kind == "gaussian":
            return np.asarray(np.exp(-4 * (np.pi * self.size) ** 2 * (fx**2 + fy**2)), np.float32)
        if self.kind == "line":
            angle = math.radians(self.angle_degrees)
            cycles, transfer = _line_transfer(self.taper)
            along = np.abs(self.size * (fx * math.cos(angle) + fy * math.sin(angle)))
            return np.interp(along, cycles, transfer).astype(np.float32)
        return np.ones_like(fx)


NO_BLUR = Blur("none")
DEFOCUS = (
    NO_BLUR,
    *(Blur("disk", round(0.7 + 0.1 * n, 1)) for n in range(85)),
    *(Blur("gaussian", round(0.5 + 0.1 * n, 1)) for n in range(45)),
)
COARSE_MOTION = (
    NO_BLUR,
    *(
        Blur("line", 3 + 1.5 * n, 6.0 * angle, taper)
        for n in range(19)
        for angle in range(30)
        for taper in (0.0, 1.0)
    ),
)


def find_defocus(pixels: FloatArray) -> tuple[Blur, float]:
    """The disk or Gaussian that fits the spectrum of (H, W, 3) pixels best, or `NO_BLUR`; and its misfit."""
    if pixels[..., 0].size < LEAST_PIXELS:
        return NO_BLUR, math.inf
    return _best_fit(*_rings(*_spectrum(pixels)), DEFOCUS)


def find_motion(pixels: FloatArray) -> tuple[Blur, float]:
    """The line that fits the spectrum of (H, W, 3) pixels best, or `NO_BLUR`; and its misfit."""
    if pixels[..., 0].size < LEAST_PIXELS:
        return NO_BLUR, math.inf
    points = _points(*_spectrum(pixels))
    coarse, misfit = _best_fit(*points, COARSE_MOTION)
    if coarse.kind == "none":
        return coarse, misfit
    finer = [
        Blur("line", coarse.size + step, coarse.angle_degrees + turn, taper)
        for step in (-1.0, -0.5, 0.0, 0.5, 1.0)
        for turn in (-4.0, -2.0, 0.0, 2.0, 4.0)
        for taper in (0.0, 0.5, 1.0)
    ]
    return _best_fit(*points, finer)


def _best_fit(
    fx: FloatArray, fy: FloatArray, power: FloatArray, floor: float, among: Iterable[Blur]
) -> tuple[Blur, float]:
    """The blur with the smallest misfit, which is the mean error of the logarithm of the power."""
    logarithm = np.log(power + 1e-12)
    line = np.stack([np.ones_like(fx), np.log(np.hypot(fx, fy))], axis=1)
    is_signal = power > 2 * floor
    if is_signal.sum() < 8:
        return NO_BLUR, math.inf
    above_floor = np.log(np.maximum(power[is_signal] - floor, 1e-12))
    solve = np.linalg.pinv(line[is_signal])
    best, best_misfit = NO_BLUR, math.inf
    for blur in among:
        passed = np.log(blur.transfer(fx, fy) + 1e-6)
        law = solve @ (above_floor - passed[is_signal])
        expected = np.log(np.exp(np.clip(line @ law + passed, -40, 40)) + floor)
        unusual = abs(float(np.clip(law[1], *USUAL_SLOPES)) - float(law[1]))
        misfit = float(np.abs(expected - logarithm).mean()) + 0.3 * unusual
        if misfit < best_misfit:
            best, best_misfit = blur, misfit
    return best, best_misfit


def _spectrum(pixels: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(s, s / 2 + 1) frequencies fx and fy, and the power, averaged over overlapping windows (Welch)."""
    side = min(WINDOW, *pixels.shape[:2]) // 2 * 2
    window = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    total = np.zeros((side, side // 2 + 1), np.float32)
    tops, lefts = (_offsets(length, side) for length in pixels.shape[:2])
    for top in tops:
        for left in lefts:
            part = luma(pixels[top : top + side, left : left + side])
            total += np.abs(np.fft.rfft2((part - part.mean()) * window)) ** 2
    fy, fx = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")
    return fx.astype(np.float32), fy.astype(np.float32), (total / (len(tops) * len(lefts))).astype(np.float32)


def _rings(fx: FloatArray, fy: FloatArray, power: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """The mean over rings of equal frequency, and the noise floor: the power of the outermost rings."""
    radius = np.hypot(fx, fy)
    edges = np.arange(LOWEST, HIGHEST, 1.5 / len(fx))
    ring = np.digitize(radius.ravel(), edges)
    count = np.bincount(ring, minlength=len(edges) + 1)[1 : len(edges)]
    mean = np.bincount(ring, weights=power.ravel(), minlength=len(edges) + 1)[1 : len(edges)] / np.maximum(count, 1)
    middle = ((edges[1:] + edges[:-1]) / 2)[count > 0].astype(np.float32)
    power_of_ring = mean[count > 0].astype(np.float32)
    floor = 0.8 * float(np.median(power_of_ring[-max(3, len(middle) // 12) :])) + 1e-12
    return middle, np.zeros_like(middle), power_of_ring, floor


def _points(fx: FloatArray, fy: FloatArray, power: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """A seeded random sample of the band, and the noise floor: the power of its weakest points."""
    side = len(fx)
    radius = np.hypot(fx, fy)
    # The axes contain spectral leakage from the image borders.
    band = (radius > LOWEST) & (radius < HIGHEST) & (np.abs(fy) > 1.5 / side) & (fx > 1.5 / side)
    smooth = cv2.blur(power, (3, 3), borderType=cv2.BORDER_REFLECT_101)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(band))[:POINTS]
    values = smooth.ravel()[chosen]
    floor = 1.3 * float(np.median(np.sort(values)[: max(8, len(values) // 12)])) + 1e-12
    return fx.ravel()[chosen], fy.ravel()[chosen], values, floor


def _offsets(length: int, side: int) -> list[int]:
    """Offsets of at most five evenly spaced windows along an axis."""
    count = min(5, max(1, 2 * length // side - 1))
    return [round(value) for value in np.linspace(0, length - side, count)]


def _disk(radius: float) -> FloatArray:
    reach = math.ceil(radius) + 1
    grid = np.arange(-reach, reach + 1)
    kernel = np.clip(radius + 0.5 - np.hypot(*np.meshgrid(grid, grid)), 0, 1).astype(np.float32)
    return kernel / kernel.sum()


def _fading(points: FloatArray, taper: float) -> FloatArray:
    """Weights at positions between -1/2 and 1/2 of a line."""
    return np.asarray(np.exp(-0.5 * taper * (points / 0.3) ** 2), np.float32)


@cache
def _line_transfer(taper: float) -> tuple[FloatArray, FloatArray]:
    """Squared transfer function of a line of length 1, at 0 to 40 cycles along it."""
    points = np.linspace(-0.5, 0.5, 801, dtype=np.float32)
    weights = _fading(points, taper)
    cycles = np.linspace(0, 40, 1601, dtype=np.float32)
    return cycles, (np.cos(2 * np.pi * np.outer(cycles, points)) @ (weights / weights.sum())) ** 2


def _line(length: float, angle_degrees: float, taper: float) -> FloatArray:
    """A straight line, drawn bilinearly."""
    places = np.linspace(-0.5, 0.5, max(3, round(8 * length)), dtype=np.float32)
    points, weights = places * length, _fading(places, taper)
    angle = math.radians(angle_degrees)
    x, y = points * math.cos(angle), points * math.sin(angle)
    reach = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    for dy, row_share in ((0, 1 - (y - row)), (1, y - row)):
        for dx, column_share in ((0, 1 - (x - column)), (1, x - column)):
            np.add.at(kernel, (row + dy + reach, column + dx + reach), weights * row_share * column_share)
    return kernel / kernel.sum()
