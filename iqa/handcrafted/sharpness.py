"""Features of blur: the width of edges in each direction."""

from __future__ import annotations

import numpy as np

from imaging.convert import FloatArray
from iqa.handcrafted.inputs import MeasurementInputs

DIRECTIONS = 8
EDGE_PAIRS = ((1.0, 2.0), (2.0, 4.0))
"""Gaussian sigmas in pixels of the two gradients from which the width of an edge is computed."""
EDGE_SHARE = 0.04
WIDEST = 12.0


def edges(inputs: MeasurementInputs) -> dict[str, float]:
    """The width (Gaussian sigma in pixels) of the strongest edges, over all directions and in the extreme ones.

    Computed from gradients at two scales (Elder and Zucker 1998; Zhuo and Sim 2011). Motion blur widens the edges
    across its direction only; defocus widens all.
    """
    measured: dict[str, float] = {}
    for fine, coarse in EDGE_PAIRS:
        found = [_edge_widths(luma, fine, coarse) for luma in inputs.lumas]
        widths = np.concatenate([widths for widths, _ in found])
        directions = np.concatenate([directions for _, directions in found])
        per_direction = [
            float(np.percentile(widths[directions == direction], 30))
            for direction in range(DIRECTIONS)
            if np.count_nonzero(directions == direction) >= 12
        ] or [0.0]
        low, middle = np.percentile(widths, [20, 50]) if len(widths) else (0.0, 0.0)
        measured |= {
            f"edge_{fine:.0f}px_sharp_width_px": float(low),
            f"edge_{fine:.0f}px_median_width_px": float(middle),
            f"edge_{fine:.0f}px_narrowest_direction_px": min(per_direction),
            f"edge_{fine:.0f}px_widest_direction_px": max(per_direction),
        }
    return measured


def _edge_widths(luma: FloatArray, fine: float, coarse: float) -> tuple[FloatArray, FloatArray]:
    """The widths of the strongest edge pixels, and their directions in units of 180/8 degrees."""
    import cv2

    def gradient(sigma: float) -> tuple[FloatArray, FloatArray]:
        smooth = cv2.GaussianBlur(luma, (0, 0), sigma)
        x, y = (cv2.Sobel(smooth, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
        return np.asarray(x, np.float32), np.asarray(y, np.float32)

    fine_x, fine_y = gradient(fine)
    coarse_x, coarse_y = gradient(coarse)
    strength = cv2.magnitude(coarse_x, coarse_y)
    crest = strength >= cv2.dilate(strength, np.ones((3, 3), np.uint8)) * np.float32(0.97)
    threshold = max(float(np.percentile(strength, 100 * (1 - EDGE_SHARE))), 1.0)
    chosen = crest & (strength >= threshold)
    # project the fine gradient on the direction of the coarse one, which suppresses noise
    along = (fine_x * coarse_x + fine_y * coarse_y)[chosen] / strength[chosen]
    ratio = np.maximum(along / strength[chosen], np.float32(1e-3))
    with np.errstate(divide="ignore", invalid="ignore"):
        square = (coarse**2 - ratio**2 * fine**2) / (ratio**2 - 1)
    widths = np.where(ratio > 1, np.sqrt(np.clip(square, 0, WIDEST**2)), WIDEST).astype(np.float32)
    angle = np.arctan2(coarse_y[chosen], coarse_x[chosen]) % np.pi
    return widths, np.rint(angle / np.pi * DIRECTIONS).astype(np.float32) % DIRECTIONS
