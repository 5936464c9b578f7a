"""A language model that sees, as a reasoner: asked in our words, held to our form, replaced where it fails.

Nothing that a reply says is done as it stands: it can only choose among degradations, severities, tasks and
candidates that are there already.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from agent.errors import BadReply, ModelError
from agent.reasoners.reasoner import RULES, CallLog, Ordering, Reasoner, believed, plain
from agent.reasoners.replies import Answer, Judged, Ordered, Seen, findings_of, parse
from agent.reasoners.sheet import candidate_sheet, whole_and_detail
from agent.state import ModelCall, Perception, Step
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.tasks import Degradation, Severity, Task

if TYPE_CHECKING:
    from agent.judging import Candidate

ATTEMPTS = 2
REPLY_IN_TRACE = 2000
"""Characters of a reply that the trace keeps."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked."""

    system: str
    text: str
    pictures: tuple[bytes, ...]
    """PNG or JPEG files."""
    form: dict[str, Any]
    """JSON schema of the answer, for models that can be held to one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What it wrote, and what that took."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """US dollars."""


class ChatModel(Protocol):
    """Anything that answers a question with pictures."""

    @property
    def model(self) -> str:
        """Its name."""
        ...

    def ask(self, question: Question, token: ProgressToken) -> Reply:
        """Its reply. Raises `ModelError` whatever goes wrong, and `Cancelled`."""
        ...


@dataclass(slots=True)
class WarningLog:
    """Notes outside of a run: only the warnings are kept."""

    warnings: list[str]

    def asked(self, call: ModelCall) -> None:
        """Not kept."""

    def warn(self, message: str) -> None:
        """Kept."""
        self.warnings.append(message)


class ModelReasoner:
    """Asks a model. From its first failure on the rules decide: a run loses no more time than one question takes."""

    def __init__(
        self, name: str, chat: ChatModel, log: CallLog | None = None, token: ProgressToken | None = None
    ) -> None:
        self.name = name
        self._chat = chat
        self._log = log or WarningLog([])
        self._token = token or ProgressToken()
        self._given_up = False

    def bind(self, log: CallLog, token: ProgressToken) -> Reasoner:
        """The same model with a fresh chance."""
        return ModelReasoner(self.name, self._chat, log, token)

    def perceive(self, image: Image, measured: Perception) -> Perception:
        """What the model sees, or what was measured."""

        def read(reply: Seen) -> Perception:
            return believed(measured, findings_of(reply.degradations), reply.description, self._by)

        text = prompt(
            "perceive",
            measurements=_json(_measurements(measured)),
            degradations=", ".join(Degradation),
            severities=", ".join(severity.words for severity in Severity),
        )
        return self._answer("perceive", text, lambda: whole_and_detail(image), Seen, read) or RULES.perceive(
            image, measured
        )

    def order(self, tasks: Sequence[Task], perception: Perception, failed: Mapping[Task, str]) -> Ordering:
        """The model's order of what comes before super-resolution, or that of the rules.

        Nothing is asked where there is no choice.
        """
        rules = RULES.order(tasks, perception, failed)
        enlarging = rules.tasks.index(Task.SUPER_RESOLUTION) if Task.SUPER_RESOLUTION in tasks else len(rules.tasks)
        ours, after = rules.tasks[:enlarging], rules.tasks[enlarging:]
        free = set(ours) - failed.keys()
        if len(ours) < 2 or (len(ours) == 2 and len(free) == 1):
            return rules

        def read(reply: Ordered) -> Ordering:
            order = tuple(step.task for step in reply.order)
            if sorted(order) != sorted(ours):
                raise BadReply(f"order must hold each of {', '.join(ours)} once, and nothing else")
            if order[0] in failed and free:
                raise BadReply(f"order must not begin with {order[0].value}, which has failed")
            reasons = tuple(f"{step.task.value}: {plain(step.reason)}" for step in reply.order if plain(step.reason))
            return Ordering(order + after, reasons, self._by)

        failures = "\n".join(f"- {task.value}: {why}" for task, why in failed.items())
        text = prompt(
            "order",
            tasks=", ".join(ours),
            findings=_json({name: perception.findings[name].severity.words for name in perception.present()}),
            failed=prompt("failed", failures=failures) if failed else "",
            rules="\n".join([", ".join(ours), *(f"- {reason}" for reason in rules.reasons)]),
        )
        return self._answer("order", text, tuple, Ordered, read) or rules

    def judge(self, step: Step, before: Image, candidates: Sequence[Candidate], perception: Perception) -> str | None:
        """The expert whose image the model would keep."""
        images = {one.verdict.expert: one.image for one in candidates if one.image is not None}
        if len(images) < 2:
            return None

        def read(reply: Judged) -> tuple[str | None]:
            if reply.choice is not None and reply.choice not in images:
                raise BadReply(f"choice must be null or one of {', '.join(images)}")
            return (reply.choice,)

        scores = [
            {"candidate": one.verdict.expert, "score": round(one.verdict.score, 4)}
            | {"true to the input": round(one.verdict.consistency, 4)}
            for one in candidates
        ]
        text = prompt("judge", step=str(step), candidates=_json(scores))
        answer = self._answer("judge", text, lambda: (candidate_sheet(before, images, step),), Judged, read)
        return answer[0] if answer else None

    @property
    def _by(self) -> str:
        return f"{self.name} ({self._chat.model})"

    def _answer(
        self,
        purpose: Literal["perceive", "order", "judge"],
        text: str,
        pictures: Callable[[], tuple[bytes, ...]],
        form: type[Answer],
        read: Callable[[Answer], Value],
    ) -> Value | None:
        """What `read` makes of the model's answer; None where the rules have to decide."""
        if self._given_up:
            return None
        question = Question(prompt("system"), text, pictures(), form.model_json_schema())
        why = ""
        for _ in range(ATTEMPTS):
            self._token.check()
            reply, value, problem = self._attempt(purpose, question, form, read)
            if value is not None:
                return value
            why = problem.message if problem else ""
            if reply is None:
                break
            again = prompt("again", reply=json.dumps(reply[:REPLY_IN_TRACE]), problem=why)
            question = replace(question, text=again + text)
        self._given_up = True
        self._log.warn(f"{self._by} could not be used to {purpose}: {why}; the rules decide from here on")
        return None

    def _attempt(
        self,
        purpose: Literal["perceive", "order", "judge"],
        question: Question,
        form: type[Answer],
        read: Callable[[Answer], Value],
    ) -> tuple[str | None, Value | None, ModelError | None]:
        """Reply, its value, and what was wrong; no reply where the model could not be asked at all."""
        started, reply = time.perf_counter(), None
        value, problem = None, None
        try:
            reply = self._chat.ask(question, self._token)
            value = read(parse(reply.text, form))
        except ModelError as error:
            problem = error
        text = reply.text if reply else ""
        self._log.asked(
            ModelCall(
                purpose=purpose,
                model=self._chat.model,
                seconds=time.perf_counter() - started,
                prompt_tokens=reply.prompt_tokens if reply else 0,
                completion_tokens=reply.completion_tokens if reply else 0,
                cost=reply.cost if reply else None,
                reply=text[:REPLY_IN_TRACE].encode("utf-8", "replace").decode(),
                problem=problem.message if problem else None,
            )
        )
        return (text if reply else None), value, problem


def prompt(name: str, **values: str) -> str:
    """The text of prompts/`name`.md with its placeholders filled; the values themselves are not looked into."""
    return Template(_prompt_file(name)).substitute(values)


@cache
def _prompt_file(name: str) -> str:
    return (resources.files("agent") / "reasoners" / "prompts" / f"{name}.md").read_text("utf-8")


def _measurements(measured: Perception) -> dict[str, object]:
    return {
        "size": f"{measured.width}x{measured.height}",
        "quality_0_to_1": _short(measured.quality),
        "metrics": {name: _short(value) for name, value in measured.metrics.items()},
        "kind": measured.content.value,
        "estimated": {
            name.value: {
                "severity": finding.severity.words,
                "confidence": _short(finding.confidence),
                **{key: _short(value) for key, value in finding.measurements.items()},
            }
            for name, finding in measured.findings.items()
        },
    }


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
