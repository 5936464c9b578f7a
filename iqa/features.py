"""Features of an image, extracted once and shared by the degradation estimator, content and quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from imaging.image import Image
from imaging.resizing import averaged
from iqa.crops import OVERVIEW, Box, crops_of
from iqa.handcrafted.inputs import MeasurementInputs, measurement_inputs
from iqa.handcrafted.measure import measure_handcrafted
from iqa.metrics.niqe import WORST, niqe_of
from iqa.patches import Patches, extract_patches

if TYPE_CHECKING:
    from torch import Tensor

    from iqa.degradation_net import NetworkOutput
    from toolbox.pool import ExpertPool


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """The features of one image."""

    handcrafted: Mapping[str, float]
    """Measured numbers by names that end in their unit; `niqe` among them."""
    patches: Patches
    crops: tuple[Box, ...]
    """The boxes from which patches and, in large images, handcrafted features were taken."""
    models: ExpertPool | None = None
    """Holds the networks that are run on these features; None: `iqa.degradation_net.default_models`."""

    @cached_property
    def network_output(self) -> NetworkOutput:
        """The output of the degradation estimator's network, computed on first access."""
        from iqa.degradation_net import degradation_net, network_output

        return network_output(degradation_net(self.models), self.handcrafted, self.patches)

    @cached_property
    def residuals(self) -> Tensor:
        """(k,) features of what restoration networks change (`iqa.residuals`), computed on first access."""
        from iqa.degradation_net import default_models
        from iqa.residuals import residual_features, residuals_of

        near = self.patches.near
        return residual_features(near, residuals_of(near, self.models or default_models()))


def extract_features(
    image: Image, crops: tuple[Box, ...] | None = None, models: ExpertPool | None = None
) -> ImageFeatures:
    """Measure the handcrafted features of an image and cut its patches; about 0.1 s at any size.

    Up to 0.75 megapixels handcrafted features come from the whole image, above that from nine crops of 288x288 at the
    centres of `crops`, so that the candidates of one step are compared on the same places; by default those of
    `crops_of`. `models` holds the networks that are run on the features.
    """
    small = Image(averaged(image.pixels, OVERVIEW))
    boxes = crops or crops_of(image, small)
    handcrafted = measure_handcrafted(measurement_inputs(image, boxes, small), _niqe)
    return ImageFeatures(handcrafted, extract_patches(image, boxes, small=small), boxes, models)


def _niqe(inputs: MeasurementInputs) -> dict[str, float]:
    return {"niqe": min(WORST, niqe_of([np.rint(luma) for luma in inputs.lumas]))}


def enlarged(features: ImageFeatures, image: Image, scale: int) -> ImageFeatures:
    """The features with the patches that `image` would have if it were enlarged by `scale`."""
    return features if scale == 1 else replace(features, patches=extract_patches(image, features.crops, scale))
