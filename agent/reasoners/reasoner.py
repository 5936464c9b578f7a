"""Whom the agent asks for judgement: one interface, the built-in rules, and the caller of the agent itself."""

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

SURE = 0.6
"""Confidence from which the kind of content is named."""
TOLD = 0.7
"""Confidence in what somebody says who has looked, but not measured: enough to be acted on."""
LONGEST_DESCRIPTION = 300


@dataclass(frozen=True, slots=True)
class Ordering:
    """Tasks in the order in which they should be done, why, and whose order it is."""

    tasks: tuple[Task, ...]
    reasons: tuple[str, ...]
    by: str = "rules"


class CallLog(Protocol):
    """Where a reasoner leaves what it did; the context of a run is one."""

    def asked(self, call: ModelCall) -> None:
        """A language model has been asked."""
        ...

    def warn(self, message: str) -> None:
        """Something that the user should know."""
        ...


class Reasoner(Protocol):
    """Looks at an image and its measurements, orders the work, and may judge what comes of it."""

    @property
    def name(self) -> str:
        """How the trace calls it."""
        ...

    def bind(self, log: CallLog, token: ProgressToken) -> Reasoner:
        """The same for one run: it leaves its notes there, and stops when it is asked to."""
        ...

    def perceive(self, image: Image, measured: Perception) -> Perception:
        """Its own view of the image; `measured` is what the estimator and the metrics say."""
        ...

    def order(self, tasks: Sequence[Task], perception: Perception, failed: Mapping[Task, str]) -> Ordering:
        """All of `tasks`, each once. `failed`: what has failed as the next task from here, and why.

        It does not begin with any of those as long as another task is left.
        """
        ...

    def judge(self, step: Step, before: Image, candidates: Sequence[Candidate], perception: Perception) -> str | None:
        """The expert among `candidates` whose image it would keep; None leaves it to the scores."""
        ...


@dataclass(frozen=True, slots=True)
class RuleReasoner:
    """The built-in rules: what was measured is believed, and the order comes from experience."""

    name: str = "rules"

    def bind(self, log: CallLog, token: ProgressToken) -> Reasoner:
        """Itself: it has nothing to note, and takes no time."""
        return self

    def perceive(self, image: Image, measured: Perception) -> Perception:
        """What was measured, described in one sentence."""
        return measured.model_copy(update={"description": describe(measured), "by": self.name})

    def order(self, tasks: Sequence[Task], perception: Perception, failed: Mapping[Task, str]) -> Ordering:
        """By experience with pairs and the prior; what has failed does not come first."""
        ordered = list(best_order(tasks))
        allowed = [task for task in ordered if task not in failed]
        messages = []
        if allowed and allowed[0] is not ordered[0]:
            messages.append(f"not beginning with {', '.join(task.value for task in failed)}: failed there before")
            ordered.remove(allowed[0])
            ordered.insert(0, allowed[0])
        return Ordering(tuple(ordered), (*messages, *reasons(ordered)))

    def judge(self, step: Step, before: Image, candidates: Sequence[Candidate], perception: Perception) -> str | None:
        """None: the scores are the rules' whole judgement."""
        return None


@dataclass(frozen=True, slots=True)
class CallerReasoner(RuleReasoner):
    """The calling agent, whose findings are believed; the rest is done by the rules."""

    name: str = "caller"
    findings: Mapping[Degradation, Severity] = field(default_factory=dict)
    description: str = ""

    def perceive(self, image: Image, measured: Perception) -> Perception:
        """What the caller says, with what was measured."""
        return believed(measured, self.findings, self.description, self.name)


RULES = RuleReasoner()


def believed(measured: Perception, findings: Mapping[Degradation, Severity], description: str, by: str) -> Perception:
    """What somebody says of an image, over what was measured; what he does not name is not worth a task."""
    merged = dict(measured.findings)
    for name in {*merged, *findings}:
        known = merged.get(name, Finding(severity=Severity.VERY_LOW, confidence=0.0))
        severity = findings.get(name, min(known.severity, Severity.LOW))
        agreed = (severity >= Severity.MEDIUM) == known.present
        confidence = max(TOLD, known.confidence) if agreed else TOLD
        changes = {"severity": severity, "confidence": confidence, "estimated": known.severity}
        merged[name] = known.model_copy(update=changes)
    perception = measured.model_copy(update={"findings": merged, "by": by})
    return perception.model_copy(update={"description": plain(description) or describe(perception)})


def plain(text: str) -> str:
    """Foreign words on one line, without control characters, and not too many."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * LONGEST_DESCRIPTION])
    return " ".join(printable.split())[:LONGEST_DESCRIPTION]


def describe(perception: Perception) -> str:
    """What is wrong, in one sentence."""
    kind = perception.content.value if perception.content_confidence >= SURE else "picture"
    size = f"A {perception.width}x{perception.height} {kind}"
    found = [_phrase(name, perception.findings[name]) for name in perception.present()]
    return f"{size} with {', '.join(found)}." if found else f"{size} without visible degradation."


def _phrase(name: Degradation, finding: Finding) -> str:
    return f"{name.value.replace('_', ' ')} ({finding.severity.words})"
