"""The degradation estimator: what is wrong with a picture, how badly, and on what evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iqa.additive import Additive, load_models, logistic
from iqa.evidence.measure import measure_evidence
from iqa.evidence.view import view_of
from toolbox.tasks import Degradation, Severity

if TYPE_CHECKING:
    from imaging.image import Image

SMALL_PX = (1000, 400, 260, 140)
"""Long sides below which resolution is low by one more level; 4KAgent takes 300 as small."""
EMPTY_DB, FULL_DB = 15.0, 12.0
"""Fall of power into an octave of the spectrum from which it counts as empty, and up to which it does not."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known about one degradation of one picture."""

    severity: Severity
    """VERY_LOW is absent; from MEDIUM on it is worth a task."""
    confidence: float
    """In [0, 1]: how sure it is that the degradation is worth a task, or is not."""
    level: float
    """The severity before rounding: the expected number of levels reached, in [0, 4]."""
    evidence: Mapping[str, float]
    """The measured numbers that spoke most, by names that end in their unit."""


def estimate_degradations(image: Image) -> dict[Degradation, Estimate]:
    """Noise, blurs, haze, rain, darkness, compression and low resolution, all of them always answered.

    Each but the last by an ordinal logistic model over measured evidence, fitted on synthesised degradations
    (`python -m training.fit_estimator`); resolution by the number of pixels that show something. Takes about 0.1 s
    at any size.
    """
    return estimates_from(measure_evidence(view_of(image)))


def estimates_from(evidence: Mapping[str, float]) -> dict[Degradation, Estimate]:
    """The same from evidence that is measured already."""
    estimates = {
        Degradation(name): _estimate(model, evidence) for name, model in load_models("degradations.toml").items()
    }
    return {**estimates, Degradation.LOW_RESOLUTION: _resolution(evidence)}


def _estimate(model: Additive, evidence: Mapping[str, float]) -> Estimate:
    total = model(evidence)
    reached = [logistic(total + offset) for offset in model.offsets]
    severity = Severity(sum(chance > 0.5 for chance in reached))
    needed = reached[Severity.MEDIUM - 1]
    spoken = sorted(model.terms, key=lambda name: -abs(model.terms[name](evidence[name])))
    return Estimate(severity, max(needed, 1 - needed), sum(reached), {name: evidence[name] for name in spoken[:4]})


def _resolution(evidence: Mapping[str, float]) -> Estimate:
    falls = evidence["spectrum_fall_to_4px_db"], evidence["spectrum_fall_to_8px_db"]
    finest_octave_is_empty = falls[0] > EMPTY_DB and falls[1] < FULL_DB  # as enlarging by two leaves it
    resolved = evidence["long_side_px"] / (2 if finest_octave_is_empty else 1)
    severity = Severity(sum(resolved < limit for limit in SMALL_PX))
    octaves = math.log2(SMALL_PX[Severity.MEDIUM - 1] / resolved)
    return Estimate(
        severity,
        logistic(4 * abs(octaves)),
        sum(logistic(6 * math.log2(limit / resolved)) for limit in SMALL_PX),
        {"long_side_px": evidence["long_side_px"], "resolved_long_side_px": resolved},
    )
