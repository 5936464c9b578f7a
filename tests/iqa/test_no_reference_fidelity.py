"""How near to an original that nobody has: lower where a photo was treated badly, whatever was done to it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from imaging.convert import FloatArray
from imaging.image import Image
from iqa.features import extract_features
from iqa.metrics.ssim import ssim_y
from iqa.no_reference_fidelity import predict_no_reference_fidelity
from tests.iqa.test_degradations import jpeg

Picture = Callable[[FloatArray], Image]
WORSE: dict[str, Callable[[FloatArray, float], FloatArray]] = {
    "noise": lambda pixels, much: (
        pixels + np.random.default_rng(1).normal(0, 0.03 * much, pixels.shape).astype(np.float32)
    ),
    "blur": lambda pixels, much: cv2.GaussianBlur(pixels, (0, 0), 0.8 * much),
    "compression": lambda pixels, much: jpeg(pixels, round(70 / much**1.4)),
}


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
@pytest.mark.parametrize("kind", WORSE)
def test_a_photo_that_was_treated_badly_is_lower(
    kind: str, name: str, photos: dict[str, FloatArray], picture: Picture
) -> None:
    before, after = (
        predict_no_reference_fidelity(extract_features(picture(one.clip(0, 1))))
        for one in (photos[name], WORSE[kind](photos[name], 4))
    )
    assert 0 <= after.mean < before.mean <= 1


def test_more_noise_is_worse(photos: dict[str, FloatArray], picture: Picture) -> None:
    for pixels in photos.values():
        found = [
            predict_no_reference_fidelity(extract_features(picture(WORSE["noise"](pixels, much).clip(0, 1)))).mean
            for much in (0, 1, 2, 4)
        ]
        assert found == sorted(found, reverse=True)


def test_the_prediction_is_close_to_the_full_reference_value(photos: dict[str, FloatArray], picture: Picture) -> None:
    pairs = []
    for pixels in photos.values():
        for kind in WORSE.values():
            worse = picture(kind(pixels, 2).clip(0, 1))
            pairs.append(
                (predict_no_reference_fidelity(extract_features(worse)).ssim, ssim_y(worse, picture(pixels)))
            )
    guessed, measured = np.array(pairs).T
    assert np.corrcoef(guessed, measured)[0, 1] > 0.7
    assert np.abs(guessed - measured).mean() < 0.12
