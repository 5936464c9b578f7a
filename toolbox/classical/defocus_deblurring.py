"""Classical defocus deblurring: guess the radius of the blur disk, then deconvolve."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imaging.control import Control
from imaging.convert import FloatArray
from toolbox.classical.deconvolution import richardson_lucy, total_variation_deconvolution, wiener_deconvolution
from toolbox.classical.filters import luma, noise_sigma

SHARP = 0.9
"""Below this sigma in pixels there is nothing to deblur."""
REBLUR = 1.0


def total_variation(pixels: FloatArray, control: Control) -> FloatArray:
    """Disk kernel, total-variation prior (Wang et al. 2008)."""
    radius = disk_radius(pixels)
    if radius is None:
        return pixels
    return total_variation_deconvolution(pixels, disk(radius), noise_sigma(pixels), control)


def wiener(pixels: FloatArray, control: Control) -> FloatArray:
    """Disk kernel, Wiener filter."""
    radius = disk_radius(pixels)
    return pixels if radius is None else wiener_deconvolution(pixels, disk(radius), noise_sigma(pixels))


def lucy(pixels: FloatArray, control: Control) -> FloatArray:
    """Disk kernel, Richardson-Lucy."""
    radius = disk_radius(pixels)
    return pixels if radius is None else richardson_lucy(pixels, disk(radius), 15, control)


def unsharp_mask(pixels: FloatArray, control: Control) -> FloatArray:
    """Add what a Gaussian of the blur's own width removes; mild, and safe where the kernel guess is wrong."""
    sigma = min(edge_sigma(pixels), 3.0)
    return np.clip(pixels + 0.8 * (pixels - cv2.GaussianBlur(pixels, (0, 0), max(sigma, 0.5))), 0, 1)


def disk_radius(pixels: FloatArray) -> float | None:
    """Radius in pixels of the disk that blurs as much as the picture's edges are blurred; None where they are sharp."""
    sigma = edge_sigma(pixels)
    return None if sigma < SHARP else min(2 * sigma, 10.0)


def edge_sigma(pixels: FloatArray) -> float:
    """Width of the picture's edges as a Gaussian sigma in pixels.

    Blurring once more by a known sigma weakens a sharp edge more than a soft one; their ratio tells the width (Zhuo &
    Sim, "Defocus map estimation from a single image", 2011, eq. 5). Taken at the strongest edges.
    """
    plane = cv2.GaussianBlur(luma(pixels), (0, 0), 0.5)
    again = cv2.GaussianBlur(plane, (0, 0), REBLUR)
    first, second = _gradient(plane), _gradient(again)
    strong = first >= np.percentile(first, 97)
    ratio = first[strong] / np.maximum(second[strong], 1e-6)
    typical = float(np.percentile(ratio, 60))
    return REBLUR / math.sqrt(max(typical**2 - 1, 0.01))


def disk(radius: float) -> FloatArray:
    """The kernel of a lens out of focus."""
    reach = math.ceil(radius) + 1
    grid = np.arange(-reach, reach + 1)
    kernel = np.clip(radius + 0.5 - np.hypot(*np.meshgrid(grid, grid)), 0, 1).astype(np.float32)
    return kernel / kernel.sum()


def _gradient(plane: FloatArray) -> FloatArray:
    return np.hypot(
        cv2.Sobel(plane, -1, 1, 0, borderType=cv2.BORDER_REFLECT),
        cv2.Sobel(plane, -1, 0, 1, borderType=cv2.BORDER_REFLECT),
    )
