"""Storage and transmission of pictures: JPEG, and chat applications that resize and compress again."""

from __future__ import annotations

import cv2
import numpy as np

from imaging.convert import FloatArray, to_float, to_uint8
from training.data.degradations import resized

SUBSAMPLING = {"420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444}


def jpeg(srgb: FloatArray, quality: int, subsampling: str = "420") -> FloatArray:
    """Compress and decompress as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLING[subsampling]]
    done, data = cv2.imencode(".jpg", to_uint8(srgb)[:, :, ::-1], options)
    if not done:
        raise ValueError(f"JPEG of quality {quality} failed on {srgb.shape}")
    return to_float(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[:, :, ::-1])


def sent_on(srgb: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, list[int]]:
    """Reduce and compress once or twice, as chat applications do, and enlarge again; and the JPEG qualities."""
    height, width = srgb.shape[:2]
    qualities = []
    for _ in range(int(rng.integers(1, 3))):
        factor = rng.uniform(0.5, 1.0)
        srgb = resized(srgb, rng, max(16, round(height * factor)), max(16, round(width * factor)))
        qualities.append(int(rng.integers(55, 91)))
        srgb = jpeg(srgb, qualities[-1])
    return resized(srgb, rng, height, width), qualities
