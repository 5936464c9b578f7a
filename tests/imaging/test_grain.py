"""Film grain."""

from __future__ import annotations

import pytest
import torch

from imaging.grain import STRONGEST, add_grain


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_grain_has_its_strength_in_the_midtones_and_leaves_black_and_white_alone(strength: float) -> None:
    grey = torch.full((3, 700, 600), 0.5)
    grain = add_grain(grey, strength, 4) - grey
    assert float(grain.std()) == pytest.approx(strength * STRONGEST, rel=0.05)
    assert torch.equal(grain[0], grain[1])
    for level in (0.0, 1.0):
        assert torch.equal(add_grain(torch.full((3, 20, 30), level), 1.0, 4), torch.full((3, 20, 30), level))


def test_grains_are_larger_in_larger_enlargements_and_the_same_each_time() -> None:
    grey = torch.full((3, 128, 128), 0.5)

    def roughness(scale: float) -> float:
        grain = add_grain(grey, 1.0, scale)[0]
        return float(grain.diff(dim=1).abs().mean())

    assert roughness(16) < 0.6 * roughness(2)
    assert torch.equal(add_grain(grey, 1.0, 4), add_grain(grey, 1.0, 4))
