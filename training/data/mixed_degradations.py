"""One degradation among others: a picture without it, with it, and as it is stored after whatever comes later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.convert import FloatArray
from toolbox.tasks import Degradation
from training.data.degradation_sampling import draw_kinds_with
from training.data.degradations import degrade, mix
from training.data.photos import stored

ALONE = 0.4
"""Share of pictures to which nothing else happens."""


@dataclass(frozen=True, slots=True)
class DegradationStages:
    """Three stages of one picture, (H, W, 3)."""

    without: FloatArray
    """What happened before, and not the degradation."""
    with_it: FloatArray
    """The same with it."""
    degraded: FloatArray
    """What an expert gets: the same after all that happened later."""


def degradation_stages(
    clean: FloatArray, kind: Degradation, rng: np.random.Generator, happens: bool = True
) -> DegradationStages:
    """Draw what else happens to a clean picture before and after `kind`, which itself may not happen."""
    kinds = [kind] if rng.random() < ALONE else draw_kinds_with(kind, rng)
    place = kinds.index(kind)
    without, _ = mix(clean, kinds[:place], rng)
    with_it = degrade(without, kind, rng)[0] if happens else without
    degraded, _ = mix(with_it, kinds[place + 1 :], rng)
    return DegradationStages(stored(without), stored(with_it), stored(degraded))
