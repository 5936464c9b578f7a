"""Events of a run: the server sends them as notifications, the command line shows a bar, the trace records them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from agent.state import ModelCall, Node, Perception, Plan, Step, Verdict


class Event(BaseModel):
    """What all events have."""

    model_config = ConfigDict(frozen=True)

    at: float = 0.0
    """Seconds since the start of the run, including earlier attempts that were killed."""


class Started(Event):
    """The image has been read."""

    event: Literal["started"] = "started"
    run: str
    source: str
    profile: str
    width: int
    height: int
    resumed: bool = False


class Perceived(Event):
    """The image has been perceived."""

    event: Literal["perceived"] = "perceived"
    perception: Perception


class Planned(Event):
    """The plan has been made."""

    event: Literal["planned"] = "planned"
    plan: Plan


class Asked(Event):
    """A language model has been called."""

    event: Literal["asked"] = "asked"
    call: ModelCall


class StepStarted(Event):
    """A step starts."""

    event: Literal["step_started"] = "step_started"
    step: Step
    node: int
    candidates: tuple[str, ...]


class CandidateJudged(Event):
    """A candidate has its verdict."""

    event: Literal["candidate_judged"] = "candidate_judged"
    step: Step
    node: int
    verdict: Verdict


class StepFinished(Event):
    """A step has ended with a node."""

    event: Literal["step_finished"] = "step_finished"
    node: Node


class RolledBack(Event):
    """A step has failed; the run continues from an earlier node."""

    event: Literal["rolled_back"] = "rolled_back"
    step: Step
    to_node: int
    reason: str


class Warned(Event):
    """A warning for the user."""

    event: Literal["warned"] = "warned"
    message: str


class Progress(Event):
    """Progress of the run, 0..1, and its current activity. Not recorded in the trace."""

    event: Literal["progress"] = "progress"
    fraction: float
    message: str


class Finished(Event):
    """The result has been written."""

    event: Literal["finished"] = "finished"
    node: int
    output: str
    width: int
    height: int
    seconds: dict[str, float]


Listener: TypeAlias = Callable[[Event], None]
