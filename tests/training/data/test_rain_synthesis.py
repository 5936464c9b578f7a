"""Rain drawn in many ways: on the picture and nowhere else, and never twice the same."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from training.data import rain_synthesis
from training.data.pairs import degrader, kinds
from training.data.rain_synthesis import rain_pair

PATCH = data.astronaut()[:128, :160]


@pytest.mark.parametrize("seed", range(12))
def test_rain_gives_a_pair_of_the_patch_s_size_within_bounds(seed: int) -> None:
    rainy, target = rain_pair(PATCH, np.random.default_rng(seed))
    for pixels in (rainy, target):
        assert pixels.shape == PATCH.shape
        assert pixels.dtype == np.float32
        assert 0 <= pixels.min() <= pixels.max() <= 1


@pytest.mark.parametrize(("dry", "rains"), [(0.0, True), (1.0, False)])
def test_rain_is_absent_only_in_the_dry_share(dry: float, rains: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rain_synthesis, "DRY", dry)
    for seed in range(10):
        rainy, target = rain_pair(PATCH, np.random.default_rng(seed))
        assert np.array_equal(rainy, target) is not rains


def test_without_noise_the_target_is_the_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rain_synthesis, "STORED", 0.0)
    for seed in range(10):
        assert np.array_equal(rain_pair(PATCH, np.random.default_rng(seed))[1], PATCH.astype(np.float32) / 255)


def test_noise_and_compression_are_in_both_so_that_they_are_not_learned_to_be_rain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rain_synthesis, "STORED", 1.0)
    for seed in range(20):
        rainy, target = rain_pair(PATCH, np.random.default_rng(seed))
        before = np.abs(target - PATCH / 255).mean()
        dry = np.abs(rainy - target).mean(axis=2)
        assert np.quantile(dry, 0.1) < max(before, 0.01)


def test_the_same_seed_gives_the_same_rain() -> None:
    one, again, other = (rain_pair(PATCH, np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_recipes_use_rain_synthesis_and_measure_synthetic_rain_separately() -> None:
    assert set(kinds("rain_synthesis", 1)) == {"rain", "rain_synthesis", "clean"}
    given, target = degrader("rain_synthesis", 1)(PATCH, np.random.default_rng(1))
    assert given.shape == target.shape
