"""The forms of a language model's replies: enumerated values in a fixed JSON schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agent.errors import BadReply
from toolbox.tasks import Degradation, Severity, Task

LONGEST_REPLY = 20_000
"""Characters that are parsed; a good reply has a few hundred."""
MOST_PROBLEMS = 3


def _as_word(value: object) -> object:
    """`Motion Blur` and `motion-blur` become `motion_blur`."""
    return value.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(value, str) else value


def _as_words(value: object) -> object:
    return value.strip().lower().replace("_", " ") if isinstance(value, str) else value


SeverityWords = Literal["very low", "low", "medium", "high", "very high"]
Text = Annotated[str, Field(max_length=2000)]


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Rating(_Reply):
    """The severity of one degradation."""

    degradation: Annotated[Degradation, BeforeValidator(_as_word)]
    severity: Annotated[SeverityWords, BeforeValidator(_as_words)] = Field(
        description="From medium on it is worth a task."
    )

    @property
    def level(self) -> Severity:
        """The severity as a number."""
        return Severity[self.severity.upper().replace(" ", "_")]


class PerceptionReply(_Reply):
    """Reply to perceive.md."""

    description: Text
    degradations: list[Rating] = Field(max_length=len(Degradation))


class OrderedTask(_Reply):
    """One entry of an order."""

    task: Annotated[Task, BeforeValidator(_as_word)]
    reason: Text


class OrderReply(_Reply):
    """Reply to order.md."""

    order: list[OrderedTask] = Field(max_length=len(Task))


class JudgementReply(_Reply):
    """Reply to judge.md."""

    choice: Annotated[str, Field(max_length=100)] | None
    reason: Text


ReplyForm = TypeVar("ReplyForm", bound=_Reply)


def parse(text: str, form: type[ReplyForm]) -> ReplyForm:
    """The JSON object in a reply; text, a code fence or the model's reasoning may surround it.

    Raises `BadReply`, whose message tells the model what was wrong.
    """
    text = text[-LONGEST_REPLY:] if len(text) > LONGEST_REPLY else text
    text = text.rpartition("</think>")[2]
    if not text.strip():
        raise BadReply("the answer was empty")
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise BadReply("there is no complete JSON object in it")
    try:
        return form.model_validate_json(text[start : end + 1])
    except ValidationError as error:
        raise BadReply("; ".join(map(_message, error.errors()[:MOST_PROBLEMS]))) from None


def findings_of(ratings: list[Rating]) -> dict[Degradation, Severity]:
    """Severities by degradation. Raises `BadReply` if one is rated twice."""
    found = {rating.degradation: rating.level for rating in ratings}
    if len(found) < len(ratings):
        raise BadReply("a degradation is named twice")
    return found


def _message(problem: Any) -> str:
    """One of pydantic's problems, without the rejected value, which may be long and is not trusted."""
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
