"""What restoration networks change: much in degraded images, little in clean ones."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from imaging.convert import FloatArray, from_numpy, to_float
from imaging.image import Image
from iqa.features import extract_features
from iqa.residuals import residual_features
from training.data.degradations import gaussian_noise, jpeg

PHOTO = to_float(skimage.data.coffee()[:192, 100:292])


def residuals(pixels: FloatArray) -> Tensor:
    return extract_features(Image(from_numpy(pixels))).residuals


def energy(pixels: FloatArray) -> float:
    """Of the denoiser's residual, log10."""
    return float(residuals(pixels)[0])


def test_noise_is_what_a_denoiser_removes() -> None:
    energies = [energy(PHOTO)] + [
        energy(gaussian_noise(PHOTO, np.random.default_rng(1), sigma)) for sigma in (8, 16, 32)
    ]
    assert energies == sorted(energies)
    assert energies[-1] == pytest.approx(2 * np.log10(32 / 255), abs=0.25), "about the variance of the noise"


def test_compression_changes_what_networks_do() -> None:
    assert energy(jpeg(PHOTO, 20)) > energy(PHOTO) + 0.2


@pytest.mark.parametrize(("size", "level"), [((1, 1), 0.0), ((7, 300), 1.0)])
def test_even_and_tiny_images_have_finite_features(size: tuple[int, int], level: float) -> None:
    assert residuals(np.full((*size, 3), level, np.float32)).isfinite().all()


def test_networks_that_agree_are_correlated() -> None:
    generator = torch.Generator().manual_seed(1)
    patches, noise = torch.rand(3, 3, 96, 96, generator=generator), torch.randn(3, 3, 96, 96, generator=generator)
    same = residual_features(patches, [noise, noise, -noise])[-3:]
    assert same.tolist() == pytest.approx([1, -1, -1], abs=1e-3)


def test_the_residuals_of_the_shipped_networks_are_those_that_steps_were_checked_with() -> None:
    """Newer weights of an expert change which steps are planned, so that the gains have to be measured again."""
    of_the_camera_network = residuals(PHOTO)[4:7].tolist()  # chroma, sharpening, share of the detail
    assert of_the_camera_network == pytest.approx([0.370, -0.076, -1.235], abs=0.03)
