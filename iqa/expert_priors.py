"""Expert priors: how much closer to the original each expert came than the others, on synthesised degradations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from iqa.parameters import read_toml
from toolbox.tasks import Task

FILES = ("expert_priors.toml", "old_photo_expert_priors.toml")
"""Written by `training.fits.quality` and `training.fits.old_photo`."""
MIXED_SEVERITY = 0.6
"""Sum of the severities of co-occurring degradations from which an image counts as mixed."""
SHORTLIST_SIZE = 2
"""The largest number of experts with a prior that are run in a step."""
FAR_BEHIND = 0.02
"""Distance from the best prior beyond which an expert is not run. In 1240 steps on synthetically degraded photos,
running the second expert anyway changed few results, and made more of them worse than better.
"""


def prior_key(task: Task, co_degradation_severity: float) -> str:
    """The key of the table of priors for a task; mixed degradations have a separate table."""
    return f"{task.value}_mixed" if co_degradation_severity >= MIXED_SEVERITY else task.value


def priors_for(
    tables: Mapping[str, Mapping[str, float]], task: Task, co_degradation_severity: float = 0.0
) -> Mapping[str, float]:
    """The priors of a task, by the name of the expert."""
    return tables.get(prior_key(task, co_degradation_severity)) or tables.get(task.value, {})


def shortlist_by_prior(priors: Mapping[str, float]) -> list[str]:
    """Names of the experts to run, the best prior first."""
    best = sorted(priors, key=lambda name: -priors[name])[:SHORTLIST_SIZE]
    return [name for name in best if priors[name] >= priors[best[0]] - FAR_BEHIND]


def expert_prior(task: Task, expert: str, co_degradation_severity: float = 0.0) -> float:
    """The prior of an expert; 0 if there is none."""
    return priors_for(expert_priors(), task, co_degradation_severity).get(expert, 0.0)


def best_prior(task: Task, expert: str) -> float:
    """The larger prior of an expert: alone, or with co-occurring degradations."""
    return max(expert_prior(task, expert), expert_prior(task, expert, MIXED_SEVERITY))


def has_prior(task: Task, expert: str) -> bool:
    """Whether an expert has a prior for a task."""
    return expert in priors_for(expert_priors(), task)


@cache
def expert_priors() -> Mapping[str, Mapping[str, float]]:
    """All tables, by `prior_key`."""
    tables = [read_toml(name) for name in FILES]
    return {key: experts for table in tables for key, experts in table.items()}
