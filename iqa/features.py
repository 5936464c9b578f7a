"""Everything that is measured of a picture before anybody judges it, measured once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from imaging.image import Image
from imaging.resizing import averaged
from iqa.crops import OVERVIEW, Box, crops_of
from iqa.handcrafted.inputs import MeasurementInputs, measurement_inputs
from iqa.handcrafted.measure import measure_handcrafted
from iqa.metrics.niqe import niqe_of
from iqa.patches import Patches, extract_patches

WORST_NIQE = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """One picture, looked at."""

    handcrafted: Mapping[str, float]
    """Measured numbers by names that end in their unit; `niqe` among them."""
    patches: Patches
    crops: tuple[Box, ...]
    """Where it was looked at."""


def extract_features(image: Image, crops: tuple[Box, ...] | None = None) -> ImageFeatures:
    """Handcrafted features and patches of a picture; about 0.1 s at any size.

    Up to 0.75 megapixels handcrafted features come from the whole picture, above that from nine crops of 288x288: the
    middles of `crops`, so that candidates of one step are compared on the same places, or the picture's own
    `crops_of`.
    """
    small = Image(averaged(image.pixels, OVERVIEW))
    boxes = crops or crops_of(image, small)
    handcrafted = measure_handcrafted(measurement_inputs(image, boxes, small), _niqe)
    return ImageFeatures(handcrafted, extract_patches(image, boxes, small=small), boxes)


def _niqe(view: MeasurementInputs) -> dict[str, float]:
    return {"niqe": min(WORST_NIQE, niqe_of([np.rint(luma) for luma in view.lumas]))}


def enlarged(features: ImageFeatures, image: Image, scale: int) -> ImageFeatures:
    """The same picture with patches as it would have if it were `scale` times larger; handcrafted features stay its
    own.
    """
    return (
        features
        if scale == 1
        else ImageFeatures(features.handcrafted, extract_patches(image, features.crops, scale), features.crops)
    )
