"""Peak signal-to-noise ratio, over the RGB channels and of luma."""

from __future__ import annotations

import math

import numpy as np

from imaging.convert import FloatArray, to_numpy
from imaging.image import Image
from iqa.errors import ImageTooSmall
from iqa.luma import require_same_size, studio_luma
from iqa.metric import Metric

IDENTICAL_DB = 100.0


def psnr(image: Image, reference: Image) -> float:
    """10 log10(1 / mean squared error) in dB over the channels; 100 for identical images. Raises `SizesDiffer`."""
    require_same_size(image, reference)
    return psnr_of(to_numpy(image.pixels), to_numpy(reference.pixels))


def psnr_y(image: Image, reference: Image, *, crop: int = 0) -> float:
    """PSNR in dB of BT.601 studio-range Y with peak 1, `crop` border pixels left out (by convention the scale).

    Raises `SizesDiffer`, `ImageTooSmall`.
    """
    require_same_size(image, reference)
    return psnr_of(studio_luma(image), studio_luma(reference), crop)


def psnr_of(image: FloatArray, reference: FloatArray, crop: int = 0) -> float:
    """PSNR in dB of arrays (H, W) or (H, W, C) in [0, 1]; `crop`: pixels left out at each border."""
    rows, columns = (slice(crop, size - crop) for size in image.shape[:2])
    difference = image[rows, columns] - reference[rows, columns]
    if not difference.size:
        raise ImageTooSmall(f"nothing of {image.shape[1]}x{image.shape[0]} is left after cropping {crop} pixels")
    error = float(np.mean(np.square(difference), dtype=np.float64))
    return min(IDENTICAL_DB, -10 * math.log10(max(error, 1e-12)))


METRICS = (
    Metric(
        name="psnr",
        higher_is_better=True,
        range=(0.0, IDENTICAL_DB),
        reference="full",
        about="Peak signal-to-noise ratio of RGB in dB, against the original image.",
        measure=psnr,
    ),
    Metric(
        name="psnr_y",
        higher_is_better=True,
        range=(0.0, IDENTICAL_DB),
        reference="full",
        about="Peak signal-to-noise ratio of luma in dB, as super-resolution papers report it.",
        measure=psnr_y,
    ),
)
