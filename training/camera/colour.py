"""From a finished sRGB picture back to linear camera RGB, and forward again (Brooks et al. 2019, arXiv 1811.11127).

Tone curve, gamma, colour matrix and white balance are drawn at random; forward after backward is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.convert import FloatArray

LINEAR_STEPS, DISPLAY_STEPS = 1 << 14, 1 << 12
"""Entries of the tables from linear light to display values and back. The first is indexed by the square root of
linear light, whose steps are perceptually about as even as those of display values.
"""

XYZ_TO_CAMERA = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
"""Colour matrices that four cameras write into their DNG files (those of the Darmstadt Noise Dataset)."""
SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


@dataclass(frozen=True, slots=True)
class ColourPipeline:
    """The rendering of linear sensor values as sRGB by one camera."""

    to_camera: FloatArray
    """(3, 3): linear sRGB to white-balanced camera RGB; rows sum to 1, so that grey stays grey."""
    white_balance: FloatArray
    """(3,): gains of red, green and blue."""
    to_srgb: FloatArray
    """(3, 3): the inverse of `to_camera`."""
    display_of_root: FloatArray
    """(LINEAR_STEPS,): display values of the square roots of linear light."""
    linear_of_display: FloatArray
    """(DISPLAY_STEPS,): linear light of display values."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> ColourPipeline:
        """A random camera: a convex combination of four known ones."""
        shares = rng.random(4)
        matrix = np.tensordot(shares / shares.sum(), XYZ_TO_CAMERA, 1) @ SRGB_TO_XYZ
        matrix /= matrix.sum(1, keepdims=True)
        gains = np.array([rng.uniform(1.5, 2.6), 1.0, rng.uniform(1.3, 2.3)])
        roots = np.linspace(0, 1, LINEAR_STEPS)
        display = _tone_curve(roots * roots, contrast=float(rng.uniform(0, 1)))
        linear = np.interp(np.linspace(0, 1, DISPLAY_STEPS), display, roots * roots)
        arrays = (matrix, gains, np.linalg.inv(matrix), display, linear)
        return cls(*(array.astype(np.float32) for array in arrays))

    def unprocess(self, srgb: FloatArray) -> FloatArray:
        """(H, W, 3) sRGB in [0, 1] to raw sensor values, white at 1 / white_balance."""
        linear = self.linear_of_display[(srgb * (DISPLAY_STEPS - 1) + 0.5).astype(np.uint16)]
        return _transformed(linear, self.to_camera / self.white_balance[:, None])

    def balance(self, raw: FloatArray) -> FloatArray:
        """Raw sensor values to linear sRGB, clipped to [0, 1]."""
        return _transformed(np.minimum(raw * self.white_balance, 1), self.to_srgb).clip(0, 1)

    def render(self, linear: FloatArray) -> FloatArray:
        """Linear sRGB in [0, 1] to display sRGB: tone curve and gamma."""
        return self.display_of_root[(np.sqrt(linear) * (LINEAR_STEPS - 1) + 0.5).astype(np.uint16)]


def _tone_curve(linear: NDArray[np.float64], contrast: float) -> NDArray[np.float64]:
    """Gamma of sRGB, then an S-shaped curve: `contrast` from 0 (none) to 1 (smoothstep)."""
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray((1 - contrast) * encoded + contrast * encoded * encoded * (3 - 2 * encoded))


def _transformed(pixels: FloatArray, matrix: FloatArray) -> FloatArray:
    return np.asarray(cv2.transform(pixels, matrix), np.float32)
