"""The fidelity-aware score of a candidate: quality, what it removed, experience with its expert, consistency."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from iqa.degradations import estimates_from
from iqa.quality import Origin
from iqa.seen import Seen
from toolbox.tasks import Degradation, Task

LEAST_LEVEL = 0.5
"""Below half a level of severity, what is left of it is the estimator's own noise."""

BESIDE: Mapping[Task, tuple[Degradation, ...]] = {
    Task.SUPER_RESOLUTION: (Degradation.NOISE, Degradation.JPEG_ARTIFACT),
    Task.DENOISING: (Degradation.JPEG_ARTIFACT,),
    Task.JPEG_ARTIFACT_REMOVAL: (Degradation.NOISE,),
}
"""What else a picture may suffer from that decides which expert for a task is the best."""
UNCLEAN_LEVEL = 0.6
"""Levels of these together from which a picture counts as unclean."""
FAVOURITES = 2
"""Experts of a step that are run at most, of those that there is experience with."""
FAR_BEHIND = 0.02
"""Experience by which an expert is so much worse than the best that it is not worth a run: of 1240 steps on photos
that we degraded, running the second anyway changed the result of few, and rather for the worse.
"""


@dataclass(frozen=True, slots=True)
class Merit:
    """What speaks for a candidate of a step."""

    task: Task
    quality: float
    """The quality score, in [0, 1]."""
    removal: float
    """The share of the step's degradation that is gone in the eyes of the estimator; negative where it has grown."""
    consistency: float
    """With the step's input, in [0, 1]."""
    experience: float
    """How much nearer to the truth than its rivals its expert came on synthesised degradations, -1..1."""


def origin_of(task: Task, before: Seen, enlarged: Seen | None = None) -> Origin:
    """What the candidates of a step are compared with; `enlarged`: the same with pieces as large as theirs."""
    beside = _level(before, BESIDE.get(task, ()))
    return Origin(task, enlarged or before, _level(before, (task.degradation,)), beside)


def situation(task: Task, beside: float) -> str:
    """Under which name experience with experts is kept; what stands `BESIDE` makes another task of it."""
    return f"{task.value}_of_unclean" if beside >= UNCLEAN_LEVEL else task.value


def known_of(tables: Mapping[str, Mapping[str, float]], task: Task, beside: float = 0.0) -> Mapping[str, float]:
    """Experience with the experts for a task, by name, in the situation that `beside` tells."""
    return tables.get(situation(task, beside)) or tables.get(task.value, {})


def worth_a_run(told: Mapping[str, float]) -> list[str]:
    """Of experts and the experience with each, those that may give the best result, the best known first."""
    best = sorted(told, key=lambda name: -told[name])[:FAVOURITES]
    return [name for name in best if told[name] >= told[best[0]] - FAR_BEHIND]


def removal(origin: Origin, seen: Seen) -> float:
    """In [-1, 1]; 0 where the degradation was not seen before, and for super-resolution, whose place is another."""
    if origin.task is Task.SUPER_RESOLUTION:
        return 0.0
    before = origin.level
    left = _level(seen, (origin.task.degradation,))
    return max(-1.0, (before - left) / max(before, LEAST_LEVEL)) if before else 0.0


def score(merit: Merit, fidelity_weight: float, weights: Mapping[str, float] | None = None) -> float:
    """The score in [0, 1] that candidates are ranked by; the formula, and its weights, stand in quality.toml."""
    weights = weights or _fidelity_aware()
    removed = 0.0 if merit.task is Task.SUPER_RESOLUTION else weights["removal"]
    judged = (merit.quality + removed * merit.removal) / (1 + removed)
    share = fidelity_weight * weights["consistency"]
    total = (1 - share) * (judged + weights["experience"] * merit.experience) + share * merit.consistency
    return min(1.0, max(0.0, total))


def own_error() -> float:
    """Scores that differ by less are a tie."""
    return _fidelity_aware()["error"]


def _level(seen: Seen, kinds: Sequence[Degradation]) -> float:
    """How much of these the estimator sees: levels of severity, 0 to 4 for each that it knows."""
    estimates = estimates_from(seen)
    return sum(estimates[kind].level for kind in kinds if kind in estimates)


@cache
def _fidelity_aware() -> Mapping[str, float]:
    table: dict[str, dict[str, float]] = tomllib.loads((resources.files("iqa") / "quality.toml").read_text("utf-8"))
    return table["fidelity_aware"]
