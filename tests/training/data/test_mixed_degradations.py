"""A degradation among others: what happened before it and after it, and that it alone tells two stages apart."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.convert import FloatArray
from toolbox.tasks import Degradation
from training.data import mixed_degradations
from training.data.mixed_degradations import degradation_stages


@pytest.fixture
def clean() -> FloatArray:
    return np.random.default_rng(0).random((48, 64, 3), np.float32) * np.float32(0.8)


@pytest.mark.parametrize("kind", [Degradation.DARK, Degradation.HAZE])
def test_only_the_degradation_separates_the_first_two_stages(kind: Degradation, clean: FloatArray) -> None:
    stages = [degradation_stages(clean, kind, np.random.default_rng(seed)) for seed in range(20)]
    changes = [float(one.with_it.mean() - one.without.mean()) for one in stages]
    assert all(change < 0 if kind is Degradation.DARK else change > 0 for change in changes)
    assert all(part.shape == clean.shape for one in stages for part in (one.without, one.with_it, one.degraded))
    later = [np.abs(one.degraded - one.with_it).max() > 0.02 for one in stages]
    assert any(later)
    assert not all(later)


def test_without_the_degradation_only_the_others_remain(clean: FloatArray) -> None:
    stages = [
        degradation_stages(clean, Degradation.DARK, np.random.default_rng(seed), happens=False) for seed in range(20)
    ]
    assert all(np.array_equal(one.without, one.with_it) for one in stages)
    assert any(np.abs(one.degraded - one.with_it).max() > 0.02 for one in stages)


def test_a_degradation_that_occurs_alone_is_applied_to_the_clean_photo(
    clean: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed_degradations, "ALONE", 1.0)
    stages = degradation_stages(clean, Degradation.DARK, np.random.default_rng(0))
    assert np.allclose(stages.without, clean, atol=1 / 255)
    assert np.array_equal(stages.with_it, stages.degraded)
