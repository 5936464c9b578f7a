"""Rain drawn in many ways: on the picture and nowhere else, and never twice the same."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from training.data.pairs import degrader, kinds
from training.data.rain_synthesis import rain_pair

PATCH = data.astronaut()[:128, :160]


@pytest.mark.parametrize("seed", range(12))
def test_a_shower_gives_a_pair_of_the_patch_s_size_within_bounds(seed: int) -> None:
    rainy, target = rain_pair(PATCH, np.random.default_rng(seed))
    for pixels in (rainy, target):
        assert pixels.shape == PATCH.shape
        assert pixels.dtype == np.float32
        assert 0 <= pixels.min() <= pixels.max() <= 1


def test_it_rains_on_most_pictures_and_not_on_all() -> None:
    pairs = [rain_pair(PATCH, np.random.default_rng(seed)) for seed in range(40)]
    assert 25 < sum(not np.array_equal(rainy, target) for rainy, target in pairs) < 40


def test_noise_and_compression_are_in_both_so_that_they_are_not_learned_to_be_rain() -> None:
    pairs = [rain_pair(PATCH, np.random.default_rng(seed)) for seed in range(40)]
    stored = [pair for pair in pairs if not np.array_equal(pair[1], PATCH.astype(np.float32) / 255)]
    assert 10 < len(stored) < 30
    for rainy, target in stored:
        before = np.abs(target - PATCH / 255).mean()
        dry = np.abs(rainy - target).mean(axis=2)
        assert np.quantile(dry, 0.1) < max(before, 0.01)


def test_the_same_seed_gives_the_same_rain() -> None:
    one, again, other = (rain_pair(PATCH, np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_recipes_know_showers_and_measure_our_rain_by_itself() -> None:
    assert set(kinds("rain_synthesis", 1)) == {"rain", "rain_synthesis", "clean"}
    given, target = degrader("rain_synthesis", 1)(PATCH, np.random.default_rng(1))
    assert given.shape == target.shape
