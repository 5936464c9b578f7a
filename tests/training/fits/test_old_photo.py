"""Photos made old: reproducible, in range, and the truth beside them is the same photo without age."""

from __future__ import annotations

import numpy as np
import skimage.data

from imaging.convert import to_float
from training.fits.old_photo import aged

PHOTO = to_float(skimage.data.astronaut()[:128, 128:256])


def test_ageing_a_photo_keeps_shape_and_range_and_is_reproducible() -> None:
    for seed in range(12):
        old, new = aged(PHOTO, np.random.default_rng(seed))
        assert old.shape == new.shape == PHOTO.shape
        assert 0 <= old.min() <= old.max() <= 1
        assert np.array_equal(old, aged(PHOTO, np.random.default_rng(seed))[0])


def test_the_truth_is_the_photo_in_colour_or_grey() -> None:
    truths = [aged(PHOTO, np.random.default_rng(seed))[1] for seed in range(12)]
    in_colour = [np.array_equal(new, PHOTO) for new in truths]
    grey = [np.array_equal(new, np.repeat(PHOTO.mean(2, keepdims=True), 3, axis=2)) for new in truths]
    assert any(in_colour)
    assert any(grey)
    assert all(one or other for one, other in zip(in_colour, grey, strict=True))
