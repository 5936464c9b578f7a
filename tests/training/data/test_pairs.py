"""Training pairs by the names that recipes use."""

from __future__ import annotations

import numpy as np
import skimage.data

from imaging.convert import to_float
from tests.training.detail import finest_detail
from training.data.pairs import degrader, full_resolution_crop

PHOTO = skimage.data.astronaut()[:96, 150:246]


def test_a_crop_at_100_percent_has_its_side_and_no_finest_detail() -> None:
    crops = [full_resolution_crop(to_float(PHOTO), 96, np.random.default_rng(seed)) for seed in range(8)]
    assert {crop.shape for crop in crops} == {(96, 96, 3)}
    assert np.mean([finest_detail(crop) for crop in crops]) < 0.9 * finest_detail(to_float(PHOTO))


def test_denoisers_learn_from_pictures_with_and_without_finest_detail() -> None:
    make = degrader("camera_noise", 1)
    details = [finest_detail(make(PHOTO, np.random.default_rng(seed))[1]) for seed in range(24)]
    sharp = finest_detail(to_float(PHOTO))
    assert min(details) < 0.8 * sharp
    assert max(details) > 0.95 * sharp
