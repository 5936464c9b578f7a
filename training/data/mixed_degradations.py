"""One degradation among others: an image before it, after it, and after all later degradations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.convert import FloatArray
from toolbox.tasks import Degradation
from training.data.degradation_sampling import draw_kinds_with
from training.data.degradations import degrade, mix
from training.data.photos import stored

ALONE = 0.4
"""Share of images with no other degradation."""


@dataclass(frozen=True, slots=True)
class DegradationStages:
    """Three stages of one image, (H, W, 3)."""

    without: FloatArray
    """The picture with the earlier degradations only."""
    with_it: FloatArray
    """After the degradation."""
    degraded: FloatArray
    """After the later degradations too: the input of an expert."""


def degradation_stages(
    clean: FloatArray, kind: Degradation, rng: np.random.Generator, happens: bool = True
) -> DegradationStages:
    """Draw degradations before and after `kind`, and apply them; `kind` itself is left out unless `happens`."""
    kinds = [kind] if rng.random() < ALONE else draw_kinds_with(kind, rng)
    place = kinds.index(kind)
    without, _ = mix(clean, kinds[:place], rng)
    with_it = degrade(without, kind, rng)[0] if happens else without
    degraded, _ = mix(with_it, kinds[place + 1 :], rng)
    return DegradationStages(stored(without), stored(with_it), stored(degraded))
