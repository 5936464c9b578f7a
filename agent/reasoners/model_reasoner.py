"""A vision-language model as a reasoner: it replies in a fixed schema, and the rules replace it if it fails.

A reply can only choose among existing degradations, severities, tasks and candidates.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

from agent.errors import BadReply, ModelError
from agent.reasoners.reasoner import RULES, CallLog, Ordering, Reasoner, merge_findings, one_line
from agent.reasoners.replies import JudgementReply, OrderReply, PerceptionReply, ReplyForm, findings_of, parse
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
Purpose: TypeAlias = Literal["perceive", "order", "judge"]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt with pictures."""

    system: str
    text: str
    pictures: tuple[bytes, ...]
    """PNG or JPEG files."""
    form: dict[str, Any]
    """JSON schema of the reply, for endpoints that enforce one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The text of a reply, with its tokens and cost."""

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

    def ask(self, question: Question, token: ProgressToken) -> Reply:
        """Its reply. Raises `ModelError` for any failure, and `Cancelled`."""


@dataclass(slots=True)
class WarningLog:
    """A call log outside of a run: keeps the warnings only."""

    warnings: list[str]

    def record_call(self, call: ModelCall) -> None:
        """Discard the call."""

    def warn(self, message: str) -> None:
        """Keep the warning."""
        self.warnings.append(message)


class ModelReasoner:
    """Asks a model. After its first failure the rules decide: a run loses at most the time of one question."""

    def __init__(
        self, name: str, chat: ChatModel, log: CallLog | None = None, token: ProgressToken | None = None
    ) -> None:
        self.name = name
        self._chat = chat
        self._log = log or WarningLog([])
        self._token = token or ProgressToken()
        self._given_up = False

    def bind(self, log: CallLog, token: ProgressToken) -> Reasoner:
        """A reasoner with the same model that has not failed yet."""
        return ModelReasoner(self.name, self._chat, log, token)

    def perceive(self, image: Image, measured: Perception) -> Perception:
        """The model's findings, or the measured ones if it fails."""

        def read(reply: PerceptionReply) -> Perception:
            return merge_findings(measured, findings_of(reply.degradations), reply.description, self._by)

        text = prompt(
            "perceive",
            measurements=_json(_measurements(measured)),
            degradations=", ".join(Degradation),
            severities=", ".join(severity.words for severity in Severity),
        )
        return self._answer(
            "perceive", text, lambda: whole_and_detail(image), PerceptionReply, read
        ) or RULES.perceive(image, measured)

    def order(self, tasks: Sequence[Task], perception: Perception, failed: Mapping[Task, str]) -> Ordering:
        """The model's order of the tasks before super-resolution, or that of the rules.

        The model is not asked if only one order is possible.
        """
        rules = RULES.order(tasks, perception, failed)
        enlarging = rules.tasks.index(Task.SUPER_RESOLUTION) if Task.SUPER_RESOLUTION in tasks else len(rules.tasks)
        ours, after = rules.tasks[:enlarging], rules.tasks[enlarging:]
        free = set(ours) - failed.keys()
        if len(ours) < 2 or (len(ours) == 2 and len(free) == 1):
            return rules

        def read(reply: OrderReply) -> Ordering:
            order = tuple(step.task for step in reply.order)
            if sorted(order) != sorted(ours):
                raise BadReply(f"order must contain each of {', '.join(ours)} once, and nothing else")
            if order[0] in failed and free:
                raise BadReply(f"order must not begin with {order[0].value}, which has failed")
            reasons = tuple(
                f"{step.task.value}: {one_line(step.reason)}" for step in reply.order if one_line(step.reason)
            )
            return Ordering(order + after, reasons, self._by)

        failures = "\n".join(f"- {task.value}: {why}" for task, why in failed.items())
        text = prompt(
            "order",
            tasks=", ".join(ours),
            findings=_json({name: perception.findings[name].severity.words for name in perception.present()}),
            failed=prompt("failed", failures=failures) if failed else "",
            rules="\n".join([", ".join(ours), *(f"- {reason}" for reason in rules.reasons)]),
        )
        return self._answer("order", text, tuple, OrderReply, read) or rules

    def judge(self, step: Step, before: Image, candidates: Sequence[Candidate], perception: Perception) -> str | None:
        """The expert whose image the model prefers."""
        images = {one.verdict.expert: one.image for one in candidates if one.image is not None}
        if len(images) < 2:
            return None

        def read(reply: JudgementReply) -> tuple[str | None]:
            if reply.choice is not None and reply.choice not in images:
                raise BadReply(f"choice must be null or one of {', '.join(images)}")
            return (reply.choice,)

        scores = [
            {"candidate": one.verdict.expert, "score": round(one.verdict.score, 4)}
            | {"consistency with the input": round(one.verdict.consistency, 4)}
            for one in candidates
        ]
        text = prompt("judge", step=str(step), candidates=_json(scores))
        answer = self._answer("judge", text, lambda: (candidate_sheet(before, images, step),), JudgementReply, read)
        return answer[0] if answer else None

    @property
    def _by(self) -> str:
        return f"{self.name} ({self._chat.model})"

    def _answer(
        self,
        purpose: Purpose,
        text: str,
        pictures: Callable[[], tuple[bytes, ...]],
        form: type[ReplyForm],
        read: Callable[[ReplyForm], Value],
    ) -> Value | None:
        """The value that `read` takes from the reply; None if the rules have to decide."""
        if self._given_up:
            return None
        question = Question(prompt("system"), text, pictures(), form.model_json_schema())
        why = ""
        for _ in range(ATTEMPTS):
            self._token.check()
            reply, value, why = self._attempt(purpose, question, form, read)
            if value is not None:
                return value
            if reply is None:
                break
            again = prompt("again", reply=json.dumps(reply.text[:REPLY_IN_TRACE]), problem=why)
            question = replace(question, text=again + text)
        self._given_up = True
        self._log.warn(f"{self._by} could not be used to {purpose}: {why}; the rules decide from here on")
        return None

    def _attempt(
        self,
        purpose: Purpose,
        question: Question,
        form: type[ReplyForm],
        read: Callable[[ReplyForm], Value],
    ) -> tuple[Reply | None, Value | None, str]:
        """Reply, value and problem; no reply if the model could not be reached."""
        started, reply, value, problem = time.perf_counter(), None, None, ""
        try:
            reply = self._chat.ask(question, self._token)
            value = read(parse(reply.text, form))
        except ModelError as error:
            problem = error.message
        known = reply or Reply("")
        self._log.record_call(
            ModelCall(
                purpose=purpose,
                model=self._chat.model,
                seconds=time.perf_counter() - started,
                prompt_tokens=known.prompt_tokens,
                completion_tokens=known.completion_tokens,
                cost=known.cost,
                reply=known.text[:REPLY_IN_TRACE].encode("utf-8", "replace").decode(),
                problem=problem or None,
            )
        )
        return reply, value, problem


def prompt(name: str, **values: str) -> str:
    """The text of prompts/`name`.md with its placeholders filled; the values are not expanded."""
    file = resources.files("agent") / "reasoners" / "prompts" / f"{name}.md"
    return Template(file.read_text("utf-8")).substitute(values)


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
