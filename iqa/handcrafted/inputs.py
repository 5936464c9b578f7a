"""The inputs of handcrafted features: a few patches at full resolution and a thumbnail, for any image size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray, to_numpy
from imaging.image import Image
from iqa.crops import Box, crops_of, cut, overview

MOST_PIXELS = 750_000
"""Images up to this size are one patch; larger ones are nine crops."""
THUMBNAIL = 256
SMALLEST_SIDE = 32
CB, CR = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
"""Weights of the chroma of BT.601."""


@dataclass(frozen=True, slots=True)
class MeasurementInputs:
    """The planes of one image from which features are measured."""

    lumas: tuple[FloatArray, ...]
    """Patches (h, w) of BT.601 luma in [0, 255], each beginning at multiples of 8 pixels, at least 32x32."""
    chromas: tuple[FloatArray, ...]
    """Cb and Cr of the patches, stacked to (2h, w), in [-127.5, 127.5]."""
    thumbnail: FloatArray
    """(h, w, 3) RGB in [0, 1], long side at most 256."""
    width: int
    height: int


def measurement_inputs(
    image: Image, crops: tuple[Box, ...] | None = None, small: Image | None = None
) -> MeasurementInputs:
    """Cut and convert the patches: the whole image, or if it is large the centres of `crops` (by default those of
    `crops_of`).

    Images below 32 pixels are padded by reflection. `small`: the image already reduced by
    `imaging.resizing.averaged` for at least `THUMBNAIL`, to save time.
    """
    if image.width * image.height <= MOST_PIXELS:
        patches = [to_numpy(image.pixels)]
    else:
        patches = [to_numpy(cut(image, box, multiple_of=8)) for box in crops or crops_of(image)]
    patches = [_at_least(patch, SMALLEST_SIDE) * np.float32(255) for patch in patches]
    return MeasurementInputs(
        lumas=tuple(luma(patch) for patch in patches),
        chromas=tuple(np.concatenate([patch @ CB, patch @ CR]) for patch in patches),
        thumbnail=overview(small or image, THUMBNAIL),
        width=image.width,
        height=image.height,
    )


def _at_least(patch: FloatArray, side: int) -> FloatArray:
    below, right = (max(0, side - size) for size in patch.shape[:2])
    return np.pad(patch, ((0, below), (0, right), (0, 0)), mode="symmetric") if below or right else patch
