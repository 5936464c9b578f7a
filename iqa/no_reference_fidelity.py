"""Prediction of the fidelity of an image to its unseen original, without a reference or an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from imaging.convert import FloatArray
from iqa.features import ImageFeatures
from iqa.handcrafted.measure import current_names
from iqa.parameters import read_tensors, reading
from toolbox.classical.perceptron import Perceptron

FILE = "no_reference_fidelity.safetensors"
REACH = 4.0
"""Standard deviations to which the inputs are clipped."""


@dataclass(frozen=True, slots=True)
class FidelityPrediction:
    """Predicted SSIM and PSNR to the unseen original."""

    ssim: float
    """SSIM of the luma."""
    psnr_share: float
    """PSNR (RGB), mapped from 10..40 dB to [0, 1]."""

    @property
    def mean(self) -> float:
        """The mean of both, in [0, 1]."""
        return min(1.0, max(0.0, (self.ssim + self.psnr_share) / 2))


def predict_no_reference_fidelity(features: ImageFeatures) -> FidelityPrediction:
    """Predict the fidelity by a perceptron on the handcrafted features and the logits of the degradation estimator.

    Trained by `python -m training.fits.no_reference_fidelity` on degraded photos and on the results of experts.
    """
    loaded = _load()
    ssim, psnr_share = loaded.perceptron(standard(row_of(features, loaded.names), loaded.centre, loaded.spread))
    return FidelityPrediction(float(ssim), float(psnr_share))


def row_of(features: ImageFeatures, names: Sequence[str]) -> FloatArray:
    """(k,): the named handcrafted features, and the estimator's logits."""
    from iqa.degradation_net import signed_log

    return np.array(
        [*signed_log(features.handcrafted, names), *features.network_output.whole.flatten().tolist()], np.float32
    )


def standard(rows: FloatArray, centre: FloatArray, spread: FloatArray) -> FloatArray:
    """Standardise (..., k) rows and clip them to `REACH`."""
    return np.asarray(np.clip((rows - centre) / spread, -REACH, REACH), np.float32)


@dataclass(frozen=True, slots=True)
class _LoadedPerceptron:
    names: tuple[str, ...]
    centre: FloatArray
    spread: FloatArray
    perceptron: Perceptron


@cache
def _load() -> _LoadedPerceptron:
    with reading(FILE):
        tensors, names = read_tensors(FILE)
        arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
        centre, spread = arrays.pop("centre"), arrays.pop("spread")
        layers = ((arrays[f"{index}.weight"], arrays[f"{index}.bias"]) for index in range(len(arrays) // 2))
        return _LoadedPerceptron(current_names(names), centre, spread, Perceptron(tuple(layers)))
