"""A baseline estimator: sums of one parabola per handcrafted feature."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

REACH = 3.0
"""Standardised features are clipped to this, because models are not trusted outside the range of their training data.
"""


@dataclass(frozen=True, slots=True)
class Term:
    """Contribution of one handcrafted feature."""

    centre: float
    spread: float
    slope: float
    bend: float
    log_offset: float | None = None
    """If given, the logarithm of the handcrafted features plus this value is used."""

    def standardised(self, value: float) -> float:
        """The standardised value, limited to `REACH`."""
        if self.log_offset is not None:
            value = math.log(max(value, 0.0) + self.log_offset)
        return min(REACH, max(-REACH, (value - self.centre) / self.spread))

    def __call__(self, value: float) -> float:
        """slope z + bend (z^2 - 1)."""
        z = self.standardised(value)
        return self.slope * z + self.bend * (z * z - 1)


@dataclass(frozen=True, slots=True)
class Additive:
    """A sum of terms, and the offset of each severity level, added to the sum to give a logit."""

    terms: Mapping[str, Term]
    offsets: tuple[float, ...]

    def __call__(self, handcrafted: Mapping[str, float]) -> float:
        """The sum."""
        return sum(term(handcrafted[name]) for name, term in self.terms.items())


@cache
def load_models(name: str) -> Mapping[str, Additive]:
    """The models of one TOML file in benchmarks/, by their names."""
    tables = tomllib.loads((resources.files("benchmarks") / name).read_text("utf-8"))
    return {
        model: Additive(
            terms={handcrafted: Term(**term) for handcrafted, term in table["terms"].items()},
            offsets=tuple(table["offsets"]),
        )
        for model, table in tables.items()
    }


def logistic(logit: float) -> float:
    """1 / (1 + exp(-logit))."""
    return 0.5 * (1 + math.tanh(logit / 2))
