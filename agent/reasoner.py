"""Whom the agent asks for judgement: one interface, and the built-in rules that are always there."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Protocol

from agent.state import Finding, Perception
from imaging.image import Image
from toolbox.tasks import Degradation, Task

SURE = 0.6
"""Confidence from which the kind of content is named."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """Tasks in the order in which they should be done, and why."""

    tasks: tuple[Task, ...]
    reasons: tuple[str, ...]


class Reasoner(Protocol):
    """Looks at an image and its measurements, and orders the work."""

    @property
    def name(self) -> str:
        """How the trace calls it."""
        ...

    def perceive(self, image: Image, measured: Perception) -> Perception:
        """Its own view of the image; `measured` is what the estimator and the metrics say."""
        ...

    def order(self, tasks: Sequence[Task], perception: Perception, not_first: Sequence[Task]) -> Ordering:
        """All of `tasks`, each once, not beginning with any of `not_first` as long as another task is left."""
        ...


@dataclass(frozen=True, slots=True)
class RuleReasoner:
    """The built-in rules: what was measured is believed, and the order comes from order.toml."""

    name: str = "rules"

    def perceive(self, image: Image, measured: Perception) -> Perception:
        """What was measured, described in one sentence."""
        return measured.model_copy(update={"description": describe(measured), "by": self.name})

    def order(self, tasks: Sequence[Task], perception: Perception, not_first: Sequence[Task]) -> Ordering:
        """By the table's sequence, with the table's reason for every pair at hand."""
        sequence, pairs = _order_table()
        ordered = sorted(tasks, key=sequence.index)
        allowed = [task for task in ordered if task not in not_first]
        reasons = []
        if allowed and allowed[0] is not ordered[0]:
            reasons.append(f"not beginning with {', '.join(task.value for task in not_first)}: failed there before")
        if allowed:
            ordered.remove(allowed[0])
            ordered.insert(0, allowed[0])
        reasons += [
            f"{first.value} before {then.value}: {why}"
            for first, then, why in pairs
            if first in ordered and then in ordered and ordered.index(first) < ordered.index(then)
        ]
        return Ordering(tuple(ordered), tuple(reasons))


RULES = RuleReasoner()


def describe(perception: Perception) -> str:
    """What is wrong, in one sentence."""
    kind = perception.content.value if perception.content_confidence >= SURE else "picture"
    size = f"A {perception.width}x{perception.height} {kind}"
    found = [_phrase(name, perception.findings[name]) for name in perception.present()]
    return f"{size} with {', '.join(found)}." if found else f"{size} without visible degradation."


def _phrase(name: Degradation, finding: Finding) -> str:
    return f"{finding.severity.words} {name.value.replace('_', ' ')}"


@cache
def _order_table() -> tuple[list[Task], list[tuple[Task, Task, str]]]:
    table = tomllib.loads((resources.files("agent") / "order.toml").read_text("utf-8"))
    pairs = [(Task(pair["first"]), Task(pair["then"]), pair["why"]) for pair in table["pair"]]
    return [Task(name) for name in table["sequence"]], pairs
