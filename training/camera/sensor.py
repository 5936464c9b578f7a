"""The image sensor: shot and read noise on a Bayer mosaic, quantization, demosaicing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from imaging.convert import FloatArray

BLACK = 1 << 10
"""Black level of the 16-bit mosaic, so that negative noise survives demosaicing."""
WHITE = (1 << 16) - 1
MOST_SHOT_NOISE = 0.012
"""Maximum, as in Brooks et al. 2019: noisier photographs are not kept."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """Noise of one exposure: variance = shot * signal + read, signal 1 at saturation."""

    iso: float
    shot: float
    read: float
    bits: int
    edge_aware: bool
    """Whether demosaicing follows edges; bilinear otherwise."""

    @classmethod
    def draw(cls, rng: np.random.Generator, iso: float | None = None) -> Sensor:
        """ISO 100 to 25,600 on a sensor of 4,000 (phone) to 60,000 (full frame) electrons at ISO 100."""
        electrons = float(np.exp(rng.uniform(np.log(4_000), np.log(60_000))))
        if iso is None:
            iso = float(100 * 2 ** rng.uniform(0, 8))
        iso = min(iso, 100 * electrons * MOST_SHOT_NOISE)
        gain = iso / 100
        read = (float(rng.uniform(1.5, 6)) * gain / electrons) ** 2
        return cls(iso, gain / electrons, read, int(rng.choice([10, 12, 14])), bool(rng.random() < 0.5))

    def expose(self, raw: FloatArray, rng: np.random.Generator | None) -> FloatArray:
        """(H, W, 3) raw light to (H, W, 3) demosaiced raw values in [0, 1]; no noise if `rng` is None.

        H and W are even.
        """
        mosaic = _mosaic(raw).clip(0, 1)
        if rng is not None:
            deviation = np.sqrt(self.shot * mosaic + np.float32(self.read))
            mosaic = mosaic + deviation * rng.standard_normal(mosaic.shape, dtype=np.float32)
        levels = (1 << self.bits) - 1
        mosaic = np.rint(mosaic.clip(-0.015, 1) * levels) / levels
        stored = (BLACK + mosaic * (WHITE - BLACK)).astype(np.uint16)
        code = cv2.COLOR_BayerRGGB2RGB_EA if self.edge_aware else cv2.COLOR_BayerRGGB2RGB
        # the borders of OpenCV's edge-aware method are not filled
        padded = cv2.copyMakeBorder(stored, 4, 4, 4, 4, cv2.BORDER_REFLECT_101)
        colour = cv2.demosaicing(padded, code)[4:-4, 4:-4]
        return np.asarray(((colour.astype(np.float32) - BLACK) / (WHITE - BLACK)).clip(0, 1), np.float32)


def _mosaic(raw: FloatArray) -> FloatArray:
    """(H, W): red at even rows and columns, blue at odd ones, green elsewhere."""
    mosaic = np.ascontiguousarray(raw[:, :, 1])
    mosaic[0::2, 0::2] = raw[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = raw[1::2, 1::2, 2]
    return mosaic
