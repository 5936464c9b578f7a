"""Events of a run: the server sends them as notifications, the command line shows a bar, the trace records them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from agent.state import ModelCall, Node, Perception, Plan, Step, Verdict


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    at: float = 0.0
    """Seconds since the start of the run, including earlier attempts that were killed."""


class Started(_Event):
    """The image has been read."""

    event: Literal["started"] = "started"
    run: str
    source: str
    profile: str
    width: int
    height: int
    resumed: bool = False


class Perceived(_Event):
    """The image has been perceived."""

    event: Literal["perceived"] = "perceived"
    perception: Perception


class Planned(_Event):
    """The plan has been made."""

    event: Literal["planned"] = "planned"
    plan: Plan


class Asked(_Event):
    """A language model has been called."""

    event: Literal["asked"] = "asked"
    call: ModelCall


class StepStarted(_Event):
    """A step starts."""

    event: Literal["step_started"] = "step_started"
    step: Step
    node: int
    candidates: tuple[str, ...]


class CandidateJudged(_Event):
    """A candidate has its verdict."""

    event: Literal["candidate_judged"] = "candidate_judged"
    step: Step
    node: int
    verdict: Verdict


class StepFinished(_Event):
    """A step has ended with a node."""

    event: Literal["step_finished"] = "step_finished"
    node: Node


class RolledBack(_Event):
    """A step has failed; the run continues from an earlier node."""

    event: Literal["rolled_back"] = "rolled_back"
    step: Step
    to_node: int
    reason: str


class Warned(_Event):
    """A warning for the user."""

    event: Literal["warned"] = "warned"
    message: str


class Progress(_Event):
    """Progress of the run, 0..1, and its current activity. Not recorded in the trace."""

    event: Literal["progress"] = "progress"
    fraction: float
    message: str


class Finished(_Event):
    """The result has been written."""

    event: Literal["finished"] = "finished"
    node: int
    output: str
    width: int
    height: int
    seconds: dict[str, float]


Event: TypeAlias = Annotated[
    Started
    | Perceived
    | Planned
    | Asked
    | StepStarted
    | CandidateJudged
    | StepFinished
    | RolledBack
    | Warned
    | Progress
    | Finished,
    Field(discriminator="event"),
]
Listener: TypeAlias = Callable[[Event], None]
