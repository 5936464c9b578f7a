"""Reasoners: the interface, the built-in rules, and the caller's own findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from agent.ordering import best_order, reasons
from agent.state import Finding, ModelCall, Perception, Step
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.tasks import Degradation, Severity, Task

if TYPE_CHECKING:
    from agent.judging import Candidate

SURE = 0.9
"""Confidence from which the kind of content is named: at 0.6 to 0.8 a tiger was taken for an aerial photo."""
REPORTED_CONFIDENCE = 0.7
"""Confidence in a severity that a caller or model reports without measuring it."""
LONGEST_DESCRIPTION = 300
CALLER = "caller"
"""Name of the reasoner whose findings come from the caller."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """Tasks in order, with the reasons, and the reasoner that ordered them."""

    tasks: tuple[Task, ...]
    reasons: tuple[str, ...]
    by: str = "rules"


class CallLog(Protocol):
    """Records what a reasoner did; `RunContext` is one."""

    def record_call(self, call: ModelCall) -> None:
        """Record a call of a language model."""

    def warn(self, message: str) -> None:
        """Warn the user."""


class Reasoner(Protocol):
    """Perceives an image, orders the tasks, and may decide between tied candidates."""

    @property
    def name(self) -> str:
        """Its name in the trace."""

    def bind(self, log: CallLog, token: ProgressToken) -> Reasoner:
        """The same reasoner for one run: it records its calls in `log` and stops when `token` is cancelled."""

    def perceive(self, image: Image, measured: Perception) -> Perception:
        """Its findings in an image; `measured` are those of the estimator and the metrics."""

    def order(self, tasks: Sequence[Task], perception: Perception, failed: Mapping[Task, str]) -> Ordering:
        """An order of all `tasks`. `failed`: the tasks that failed as the next one from here, with the reasons.

        None of those comes first while other tasks remain.
        """

    def judge(self, step: Step, before: Image, candidates: Sequence[Candidate], perception: Perception) -> str | None:
        """The expert among `candidates` whose image it prefers; None leaves the choice to the scores."""


@dataclass(frozen=True, slots=True)
class RuleReasoner:
    """The built-in rules: measured findings, and an order learned from trials."""

    name: str = "rules"

    def bind(self, log: CallLog, token: ProgressToken) -> Reasoner:
        """The same object, because it makes no calls and takes no time."""
        return self

    def perceive(self, image: Image, measured: Perception) -> Perception:
        """The measured findings, described in one sentence."""
        return measured.model_copy(update={"description": describe(measured), "by": self.name})

    def order(self, tasks: Sequence[Task], perception: Perception, failed: Mapping[Task, str]) -> Ordering:
        """The best order by trials of task pairs and the prior; a failed task does not come first."""
        ordered = list(best_order(tasks))
        allowed = [task for task in ordered if task not in failed]
        messages = []
        if allowed and allowed[0] is not ordered[0]:
            messages.append(f"not starting with {', '.join(task.value for task in failed)}, which failed before")
            ordered.remove(allowed[0])
            ordered.insert(0, allowed[0])
        return Ordering(tuple(ordered), (*messages, *reasons(ordered)))

    def judge(self, step: Step, before: Image, candidates: Sequence[Candidate], perception: Perception) -> str | None:
        """None: the scores decide."""
        return None


@dataclass(frozen=True, slots=True)
class CallerReasoner(RuleReasoner):
    """The calling agent's own findings; the rules do the rest."""

    name: str = CALLER
    findings: Mapping[Degradation, Severity] = field(default_factory=dict)
    description: str = ""

    def perceive(self, image: Image, measured: Perception) -> Perception:
        """The caller's findings, merged with the measured ones."""
        return merge_findings(measured, self.findings, self.description, self.name)


RULES = RuleReasoner()


def merge_findings(
    measured: Perception, findings: Mapping[Degradation, Severity], description: str, by: str
) -> Perception:
    """Reported findings merged over the measured ones; a degradation that is not reported gets no task."""
    merged = dict(measured.findings)
    for name in {*merged, *findings}:
        known = merged.get(name, Finding(severity=Severity.VERY_LOW, confidence=0.0))
        severity = findings.get(name, min(known.severity, Severity.LOW))
        agreed = (severity >= Severity.MEDIUM) == known.present
        confidence = max(REPORTED_CONFIDENCE, known.confidence) if agreed else REPORTED_CONFIDENCE
        changes = {"severity": severity, "confidence": confidence, "estimated": known.severity}
        merged[name] = known.model_copy(update=changes)
    perception = measured.model_copy(update={"findings": merged, "by": by})
    return perception.model_copy(update={"description": one_line(description) or describe(perception)})


def one_line(text: str) -> str:
    """Untrusted text on one line, without control characters, of limited length."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * LONGEST_DESCRIPTION])
    return " ".join(printable.split())[:LONGEST_DESCRIPTION]


def describe(perception: Perception) -> str:
    """The degradations of a picture in one sentence."""
    kind = perception.content.value if perception.content_confidence >= SURE else "picture"
    size = f"A {perception.width}x{perception.height} {kind}"
    found = [
        f"{name.value.replace('_', ' ')} ({perception.findings[name].severity.words})"
        for name in perception.present()
    ]
    return f"{size} with {', '.join(found)}." if found else f"{size} without visible degradation."
