"""The quality score that Q-MoE ranks candidates by: 4KAgent's formula, over whatever metrics are present.

4KAgent (arXiv 2507.07105) adds Qs = HPSv2 + Qnr / 4, with Qnr = (1 - NIQE / 10) + 0.01 MUSIQ + MANIQA + CLIPIQA.
Here the same sum is a weighted mean of parts that all lie in [0, 1], so that a part that is missing can be left
out: with all five there, score = Qs / 2 (and 4KAgent's threshold of 0.5 is 0.25); with the four of Qnr, Qnr / 4.
Weights are data, in quality.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from iqa.additive import load_models
from iqa.crops import Box, crops_of
from iqa.errors import BadParameters
from iqa.evidence.measure import measure_evidence
from iqa.evidence.view import View, view_of
from iqa.niqe import niqe_of

if TYPE_CHECKING:
    from imaging.image import Image

__all__ = ["Box", "Quality", "combine", "crops_of", "quality", "quality_of"]

WORST_NIQE = 100.0


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a picture looks, and what that is made of."""

    score: float
    """In [0, 1], higher is better."""
    parts: Mapping[str, float]
    """The raw values of the metrics that took part, by name."""


@dataclass(frozen=True, slots=True)
class Part:
    """How one metric enters the score."""

    weight: float
    at_zero: float
    """The metric's value that counts as 0."""
    at_one: float
    """The metric's value that counts as 1."""

    def __call__(self, value: float) -> float:
        """The value on the common scale, limited to [0, 1]."""
        return min(1.0, max(0.0, (value - self.at_zero) / (self.at_one - self.at_zero)))


def quality(image: Image, crops: tuple[Box, ...] | None = None) -> Quality:
    """The quality of a picture from what can be measured here: NIQE, and the SSIM predicted from evidence.

    Up to 0.75 megapixels the whole picture is measured, above that nine crops of 288x288 at flat cost: the middles
    of `crops`, so that candidates of one step are compared on the same places, or the picture's own `crops_of`.
    """
    view = view_of(image, crops)
    return quality_of(view, measure_evidence(view))


def quality_of(view: View, evidence: Mapping[str, float]) -> Quality:
    """The same of a view whose evidence is measured already.

    `predicted_fidelity` is what `python -m training.fit_quality` learned: the likeness to the unseen original (the
    mean of SSIM and of PSNR from 10 to 40 dB) in about [0, 1], as a sum of parabolas of measured evidence.
    """
    niqe = min(WORST_NIQE, niqe_of([np.rint(luma) for luma in view.lumas]))
    model = load_models("predicted_fidelity.toml")["predicted_fidelity"]
    parts = {"niqe": niqe, "predicted_fidelity": model({**evidence, "niqe": niqe}) + model.offsets[0]}
    return Quality(combine(parts), parts)


def combine(values: Mapping[str, float]) -> float:
    """The score in [0, 1] of raw metric values by name: the weighted mean of those that are known and present.

    4KAgent's own metrics decide as soon as one besides NIQE is there; until then the embedded ones.
    Raises `BadParameters` where no value has a known name.
    """
    tables = _parts()
    published = tables["published"].keys() & values.keys() - {"niqe"}
    table = tables["published" if published else "embedded"]
    present = {name: part for name, part in table.items() if name in values}
    total = sum(part.weight for part in present.values())
    if total <= 0:
        raise BadParameters(f"none of {', '.join(values) or 'no metrics'} has a weight", "see iqa/quality.toml")
    return sum(part.weight * part(values[name]) for name, part in present.items()) / total


@cache
def _parts() -> Mapping[str, Mapping[str, Part]]:
    try:
        tables = tomllib.loads((resources.files("iqa") / "quality.toml").read_text("utf-8"))
        return {form: {name: Part(**part) for name, part in table.items()} for form, table in tables.items()}
    except (OSError, tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        raise BadParameters(f"iqa/quality.toml is not usable: {error!r}", "install restore4k again") from error
