"""What a language model may answer: closed words in a fixed form, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agent.errors import BadReply
from toolbox.tasks import Degradation, Severity, Task

LONGEST_REPLY = 20_000
"""Characters that are looked at; a good answer has a few hundred."""
MOST_PROBLEMS = 3


def _as_word(value: object) -> object:
    """`Motion Blur` and `motion-blur` as the `motion_blur` that is meant."""
    return value.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(value, str) else value


def _as_words(value: object) -> object:
    return value.strip().lower().replace("_", " ") if isinstance(value, str) else value


SeverityWords = Literal["very low", "low", "medium", "high", "very high"]
Text = Annotated[str, Field(max_length=2000)]


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Rating(_Reply):
    """How bad one degradation is."""

    degradation: Annotated[Degradation, BeforeValidator(_as_word)]
    severity: Annotated[SeverityWords, BeforeValidator(_as_words)] = Field(
        description="From medium on it is worth a task."
    )

    @property
    def level(self) -> Severity:
        """The severity as a number."""
        return Severity[self.severity.upper().replace(" ", "_")]


class Seen(_Reply):
    """Answer to perceive.md."""

    description: Text
    degradations: list[Rating] = Field(max_length=len(Degradation))


class Next(_Reply):
    """One entry of an order."""

    task: Annotated[Task, BeforeValidator(_as_word)]
    reason: Text


class Ordered(_Reply):
    """Answer to order.md."""

    order: list[Next] = Field(max_length=len(Task))


class Judged(_Reply):
    """Answer to judge.md."""

    choice: Annotated[str, Field(max_length=100)] | None
    reason: Text


Answer = TypeVar("Answer", bound=_Reply)


def parse(text: str, form: type[Answer]) -> Answer:
    """The JSON object in a reply, which may stand in a code fence, between words, or after its thoughts.

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
    """By name. Raises `BadReply` where one is rated twice."""
    found = {rating.degradation: rating.level for rating in ratings}
    if len(found) < len(ratings):
        raise BadReply("a degradation is named twice")
    return found


def _message(problem: Any) -> str:
    """One of pydantic's problems, without what was given: that may be long, and is not ours."""
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
