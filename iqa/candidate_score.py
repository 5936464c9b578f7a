"""The fidelity-aware score of a candidate, from its quality, removal, expert prior and consistency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iqa.degradations import estimates_from
from iqa.features import ImageFeatures
from iqa.parameters import read_toml
from iqa.quality import Origin
from toolbox.tasks import Degradation, Task

WEIGHTS = "quality.toml"
LEAST_LEVEL = 0.5
"""Smallest level that `removal` divides by: below half a level the estimates are mostly noise."""


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """The parts of the score of one candidate."""

    task: Task
    quality: float
    """The quality score, in [0, 1]."""
    removal: float
    """The share of the degradation that was removed, by the estimator; negative if it has grown."""
    consistency: float
    """Consistency with the step's input, in [0, 1]."""
    expert_prior: float
    """The prior of its expert; see `iqa.expert_priors` and `iqa.expected_gain.prior_by_gain`."""


def origin_of(task: Task, before: ImageFeatures, enlarged: ImageFeatures | None = None) -> Origin:
    """The origin of the candidates of a step; `enlarged`: `before` with patches of the candidates' size."""
    co_degradation_severity = _severity_of(before, task.spec.co_degradations)
    return Origin(task, enlarged or before, _severity_of(before, (task.degradation,)), co_degradation_severity)


def removal(origin: Origin, features: ImageFeatures) -> float:
    """The removed share of the degradation, in [-1, 1]; 0 if there was none, and for super-resolution."""
    if origin.task is Task.SUPER_RESOLUTION:
        return 0.0
    before = origin.level
    left = _severity_of(features, (origin.task.degradation,))
    return max(-1.0, (before - left) / max(before, LEAST_LEVEL)) if before else 0.0


def score(
    candidate_score: CandidateScore, fidelity_weight: float, weights: Mapping[str, float] | None = None
) -> float:
    """The score in [0, 1] that candidates are ranked by; the weights are in quality.toml."""
    weights = weights or read_toml(WEIGHTS)["fidelity_aware"]
    removed = 0.0 if candidate_score.task is Task.SUPER_RESOLUTION else weights["removal"]
    judged = (candidate_score.quality + removed * candidate_score.removal) / (1 + removed)
    share = fidelity_weight * weights["consistency"]
    total = (1 - share) * (
        judged + weights["expert_prior"] * candidate_score.expert_prior
    ) + share * candidate_score.consistency
    return min(1.0, max(0.0, total))


def own_error() -> float:
    """The difference of two scores below which they tie."""
    error: float = read_toml(WEIGHTS)["fidelity_aware"]["error"]
    return error


def _severity_of(features: ImageFeatures, kinds: Sequence[Degradation]) -> float:
    """The sum of the estimated levels of these degradations, each in [0, 4]."""
    estimates = estimates_from(features)
    return sum(estimates[kind].level for kind in kinds if kind in estimates)
