"""Peak signal-to-noise ratio over the RGB channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from imaging.convert import FloatArray, to_numpy
from iqa.errors import ImageTooSmall
from iqa.luma import require_same_size
from iqa.metric import Metric

if TYPE_CHECKING:
    from imaging.image import Image

IDENTICAL_DB = 100.0


def psnr(image: Image, reference: Image, *, crop: int = 0) -> float:
    """10 log10(1 / mean squared error) in dB over all three channels; 100 for identical images.

    `crop`: pixels left out at each border. Raises `SizesDiffer`, `ImageTooSmall`.
    """
    require_same_size(image, reference)
    return psnr_of(to_numpy(image.pixels), to_numpy(reference.pixels), crop)


def psnr_of(image: FloatArray, reference: FloatArray, crop: int = 0) -> float:
    """The same of arrays (H, W) or (H, W, C) in [0, 1]."""
    rows, columns = (slice(crop, size - crop) for size in image.shape[:2])
    difference = image[rows, columns] - reference[rows, columns]
    if not difference.size:
        raise ImageTooSmall(f"nothing of {image.shape[1]}x{image.shape[0]} is left after cropping {crop} pixels")
    error = float(np.mean(np.square(difference), dtype=np.float64))
    return min(IDENTICAL_DB, -10 * math.log10(max(error, 1e-12)))


METRIC = Metric(
    name="psnr",
    higher_is_better=True,
    range=(0.0, IDENTICAL_DB),
    reference="full",
    about="Peak signal-to-noise ratio of RGB in dB, against the original image.",
    measure=psnr,
)
