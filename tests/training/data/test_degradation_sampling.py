"""Pictures for the estimator, and the truth that comes with them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from imaging.convert import FloatArray, from_numpy, to_float
from imaging.image import Image
from iqa.metrics.psnr import psnr
from toolbox.tasks import Degradation, Severity
from training.data.degradation_sampling import ORDER, SMALL_PX, Truth, draw


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Image, Truth, float]]:
    """Picture, truth, and the PSNR in dB against the photo in that size."""
    photo = to_float(data.coffee()[:400, :480])
    draws = [draw(photo, np.random.default_rng(seed)) for seed in range(150)]
    return [(image, truth, psnr(image, _in_size(photo, image))) for image, truth in draws]


def _in_size(photo: FloatArray, image: Image) -> Image:
    size = image.width, image.height
    return Image(from_numpy(np.ascontiguousarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA))))


def test_pictures_labelled_clean_resemble_the_photo(drawn: list[tuple[Image, Truth, float]]) -> None:
    clean = [ssim for _, truth, ssim in drawn if not truth.applied]
    assert len(clean) > 40
    assert min(clean) > 30


def test_a_thumbnail_shows_light_and_weather_and_is_not_reduced_again(
    drawn: list[tuple[Image, Truth, float]],
) -> None:
    thumbnails = [one for one in drawn if one[0].long_side <= SMALL_PX[1] and one[1].from_the_web]
    assert not any(Degradation.LOW_RESOLUTION in truth.applied for _, truth, _ in thumbnails)
    failed = [
        ssim
        for _, truth, ssim in thumbnails
        if any(truth.applied.get(kind, 0) >= Severity.HIGH for kind in ORDER[:3])
    ]
    assert failed
    assert max(failed) < 28


def test_every_applied_degradation_is_labelled_with_its_level(drawn: list[tuple[Image, Truth, float]]) -> None:
    for _, truth, _ in drawn:
        assert truth.applied.keys() <= truth.needs.keys()
        for kind, severity in truth.applied.items():
            if kind is not Degradation.LOW_RESOLUTION:
                assert truth.needs[kind] == min(severity + 1, Severity.VERY_HIGH)
