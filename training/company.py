"""One degradation among others: a picture without it, with it, and as it is stored after whatever comes later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.convert import FloatArray
from toolbox.tasks import Degradation
from training.degradations import degrade, mix
from training.perceived import draw_kinds_with
from training.perceptron import stored

ALONE = 0.4
"""Share of pictures to which nothing else happens."""


@dataclass(frozen=True, slots=True)
class Company:
    """Three stages of one picture, (H, W, 3)."""

    without: FloatArray
    """What happened before, and not the degradation."""
    with_it: FloatArray
    """The same with it."""
    seen: FloatArray
    """What an expert gets: the same after all that happened later."""


def in_company(clean: FloatArray, kind: Degradation, rng: np.random.Generator, happens: bool = True) -> Company:
    """Draw what else happens to a clean picture before and after `kind`, which itself may not happen."""
    kinds = [kind] if rng.random() < ALONE else draw_kinds_with(kind, rng)
    place = kinds.index(kind)
    without, _ = mix(clean, kinds[:place], rng)
    with_it = degrade(without, kind, rng)[0] if happens else without
    seen, _ = mix(with_it, kinds[place + 1 :], rng)
    return Company(stored(without), stored(with_it), stored(seen))
