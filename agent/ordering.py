"""The order of tasks: learned from trials, and shrunk towards a prior if there are few."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import combinations
from typing import Any

from toolbox.tasks import Task

PRIOR_CASES = 8.0
"""Number of cases at which trials and prior have equal weight."""
PRIOR_DB = 0.3
"""Gain in dB that the prior assumes for its order of two tasks."""
LEAST_REPORTED_DB = 0.1


@dataclass(frozen=True, slots=True)
class Learned:
    """Trials of two tasks in both orders."""

    right: float
    """Share of the cases in which this order ended closer to the reference."""
    gain_db: float
    """Mean difference in PSNR."""
    cases: int

    @property
    def reliability(self) -> float:
        """0 without cases, approaching 1 with many."""
        return self.cases / (self.cases + PRIOR_CASES)


def best_order(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The order with the largest sum of pairwise gains, found exactly (dynamic programming of Held & Karp).

    Ties go to the order closer to the prior.
    """
    listed = sorted(dict.fromkeys(tasks), key=prior_order().index)
    best: dict[int, tuple[float, tuple[Task, ...]]] = {0: (0.0, ())}
    for chosen in range(1, 1 << len(listed)):
        ends = [index for index in range(len(listed)) if chosen >> index & 1]
        found = []
        for last in ends:
            total, before = best[chosen & ~(1 << last)]
            found.append((total + sum(gain_db(first, listed[last]) for first in before), (*before, listed[last])))
        best[chosen] = max(found, key=lambda each: (round(each[0], 6), [-listed.index(task) for task in each[1]]))
    return best[(1 << len(listed)) - 1][1]


def gain_db(first: Task, then: Task) -> float:
    """Expected gain of `first` before `then` over the opposite order; negative for a loss."""
    sequence, learned = prior_order(), _trials()
    prior = PRIOR_DB if sequence.index(first) < sequence.index(then) else -PRIOR_DB
    known, sign = learned.get((first, then)), 1.0
    if known is None:
        known, sign = learned.get((then, first)), -1.0
    if known is None:
        return prior
    return known.reliability * sign * known.gain_db + (1 - known.reliability) * prior


@cache
def prior_order() -> tuple[Task, ...]:
    """All tasks, in the reverse order in which their degradations arise."""
    return tuple(Task(name) for name in _table("order.toml")["sequence"])


def reasons(ordered: Sequence[Task]) -> tuple[str, ...]:
    """The known reasons why one task precedes another."""
    messages = []
    for first, then in combinations(ordered, 2):
        parts = [why] if (why := _reasons().get((first, then))) else []
        known = _trials().get((first, then))
        if known and known.gain_db >= LEAST_REPORTED_DB:
            parts.append(f"{known.gain_db:+.1f} dB on average, better in {known.right:.0%} of {known.cases} trials")
        if parts:
            messages.append(f"{first.value} before {then.value}: {'; '.join(parts)}")
    return tuple(messages)


@cache
def _reasons() -> dict[tuple[Task, Task], str]:
    return {(Task(pair["first"]), Task(pair["then"])): pair["why"] for pair in _table("order.toml")["pair"]}


@cache
def _trials() -> dict[tuple[Task, Task], Learned]:
    return {
        (Task(pair["first"]), Task(pair["then"])): Learned(pair["right"], pair["gain_db"], pair["cases"])
        for pair in _table("order_trials.toml")["pair"]
    }


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("agent") / name).read_text("utf-8"))
