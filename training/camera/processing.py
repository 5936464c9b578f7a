"""A camera's noise reduction and sharpening of a developed picture, on display sRGB."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from imaging.convert import FloatArray


@dataclass(frozen=True, slots=True)
class Processing:
    """Strengths of the camera's own noise reduction and sharpening."""

    chroma_sigma_px: float
    """Gaussian smoothing of the colour difference channels; 0 for none."""
    luma_share: float
    """Share of luma that comes from its smoothed version, in [0, 1]."""
    luma_range: float
    """Range parameter of the bilateral filter that smooths luma, in [0, 1]."""
    luma_sigma_px: float
    sharpening: float
    """Amount of unsharp masking; 0 for none."""
    sharpening_sigma_px: float

    @classmethod
    def draw(cls, rng: np.random.Generator, noise_deviation: float) -> Processing:
        """Random strengths, larger for more noise (`noise_deviation` of display values at mid-grey)."""
        need = min(1.0, noise_deviation / 0.04)
        smooths = rng.random() < 0.35 + 0.6 * need
        return cls(
            chroma_sigma_px=float(rng.uniform(0.5, 1 + 3 * need)) if smooths and rng.random() < 0.85 else 0.0,
            luma_share=float(rng.uniform(0.2, 0.5 + 0.5 * need)) if smooths and rng.random() < 0.75 else 0.0,
            luma_range=min(0.3, float(rng.uniform(1, 4)) * noise_deviation + 1e-3),
            luma_sigma_px=float(rng.uniform(0.7, 2.0)),
            sharpening=float(rng.uniform(0.1, 1.3)) if rng.random() < 0.6 else 0.0,
            sharpening_sigma_px=float(rng.uniform(0.5, 1.4)),
        )

    def apply(self, srgb: FloatArray) -> FloatArray:
        """Noise reduction, then sharpening."""
        return self.sharpen(self.smooth(srgb))

    def smooth(self, srgb: FloatArray) -> FloatArray:
        """Noise reduction alone."""
        if not (self.chroma_sigma_px or self.luma_share):
            return srgb
        ycc = cv2.cvtColor(srgb, cv2.COLOR_RGB2YCrCb)
        if self.chroma_sigma_px:
            ycc[:, :, 1:] = cv2.GaussianBlur(ycc[:, :, 1:], (0, 0), self.chroma_sigma_px)
        if self.luma_share:
            luma = np.ascontiguousarray(ycc[:, :, 0])
            smoothed = cv2.bilateralFilter(luma, 5, self.luma_range, self.luma_sigma_px)
            ycc[:, :, 0] = luma + self.luma_share * (smoothed - luma)
        return np.asarray(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB).clip(0, 1), np.float32)

    def sharpen(self, srgb: FloatArray) -> FloatArray:
        """Unsharp masking of luma alone, as cameras do."""
        if not self.sharpening:
            return srgb
        luma = cv2.cvtColor(srgb, cv2.COLOR_RGB2GRAY)
        detail = luma - cv2.GaussianBlur(luma, (0, 0), self.sharpening_sigma_px)
        return np.asarray((srgb + self.sharpening * detail[:, :, None]).clip(0, 1), np.float32)
