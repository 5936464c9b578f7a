"""What is known of a run: one value, from which the run can be resumed, reported and shown."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from iqa.content import ContentKind
from profiles.schema import Profile
from toolbox.tasks import Degradation, Severity, Task

KEEP_INPUT = "keep_input"
"""The candidate that does nothing."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Frozen):
    """What perception says of one degradation."""

    severity: Severity
    confidence: float = Field(ge=0, le=1)
    measurements: dict[str, float] = {}
    """Measured numbers, the unit in the name."""
    estimated: Severity | None = None
    """What our own estimator says, where another is believed."""
    where: tuple[float, ...] = ()
    """The severity in each cell of a 3x3 grid, row by row, 0..4; empty where that cannot be said."""

    @property
    def present(self) -> bool:
        """Bad enough to be worth a task."""
        return self.severity >= Severity.MEDIUM


class TaskGain(_Frozen):
    """What a task is expected to gain on a picture, in PSNR (dB)."""

    low_db: float
    """Lower quantile: above zero the gain is clear."""
    median_db: float


class Perception(_Frozen):
    """What is wrong with an image, in the eyes of a reasoner."""

    width: int
    height: int
    quality: float = Field(ge=0, le=1)
    metrics: dict[str, float]
    findings: dict[Degradation, Finding]
    gains: dict[Task, TaskGain] = {}
    """What the best known expert of each task is expected to gain."""
    content: ContentKind = ContentKind.PHOTO
    content_confidence: float = Field(default=0.0, ge=0, le=1)
    description: str
    """One sentence, for the trace and for preference scores."""
    by: str
    """The reasoner that says so."""

    def present(self) -> tuple[Degradation, ...]:
        """The degradations that are worth a task, worst first."""
        found = [
            (-finding.severity, -finding.confidence, name)
            for name, finding in self.findings.items()
            if finding.present
        ]
        return tuple(name for _, _, name in sorted(found))


class Step(_Frozen):
    """One entry of a plan."""

    task: Task
    scale: Literal[1, 2, 4, 16] = 1

    def __str__(self) -> str:
        return self.task.value if self.scale == 1 else f"{self.task.value} {self.scale}x"


class Plan(_Frozen):
    """Ordered steps, and why."""

    steps: tuple[Step, ...]
    final_width: int
    final_height: int
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    by: str


class Verdict(_Frozen):
    """What Q-MoE says of one candidate of one step."""

    expert: str
    score: float
    """What candidates are ranked by, 0..1."""
    quality: float = 0.0
    consistency: float = 0.0
    removal: float = 0.0
    """How much of the step's degradation is gone in the eyes of the estimator, 0..1."""
    expert_prior: float = 0.0
    """How much nearer to the truth than its rivals the expert came on synthesised degradations, -1..1."""
    cost: Literal[0, 1, 2, 3] = 0
    """0 for the input itself, 1 for a classical algorithm, 2 for a network, 3 for one that is run many times over."""
    metrics: dict[str, float] = {}
    seconds: float = 0.0
    stage: Literal["prescreen", "full"] = "full"
    error: str | None = None
    """Why the expert gave nothing; its score is 0 then."""


class FaceResult(_Frozen):
    """What became of one face."""

    left: float
    top: float
    width: float
    height: float
    """Its box, in pixels of the step's input."""
    found_in: Literal["original", "input", "both"]
    """In the picture that the run began with, in the step's input, or in both at the same place."""
    placed_by: Literal["landmarks", "size"] = "landmarks"
    """How it was cut out; profiles by their size."""
    expert: str = KEEP_INPUT
    identity: float = 1.0
    """How much the chosen crop is like the face of the original, 0..1."""
    verdicts: tuple[Verdict, ...] = ()
    """Of every candidate, with `identity` and `face_quality` among its metrics; none for a face left alone."""
    left_alone: str = ""
    """Why no expert was tried."""


class FaceWork(_Frozen):
    """What a face step did, and by which means."""

    detector: str
    identity: str
    quality: str
    same_from: float
    """The identity below which a candidate shows somebody else."""
    faces: tuple[FaceResult, ...] = ()

    @property
    def expert_runs(self) -> int:
        """How many crops were given to experts."""
        return sum(verdict.expert != KEEP_INPUT for face in self.faces for verdict in face.verdicts)


class Node(_Frozen):
    """One image on the way. The tree of nodes is the run's history."""

    id: int
    parent: int | None = None
    step: Step | None = None
    """The step that made it; None for the input."""
    expert: str | None = None
    width: int
    height: int
    score: float = 0.0
    verdicts: tuple[Verdict, ...] = ()
    margin: float | None = None
    """By how much the best score was ahead of the second; a lead below the judge's own error is a tie."""
    faces: FaceWork | None = None
    """Face by face, for the face step."""
    failed: bool = False
    """The step was judged to have failed here; the image is kept as a compromise."""
    remaining_steps: tuple[Step, ...]
    """What is still to be done from here."""
    failed_first_steps: tuple[Step, ...] = ()
    """Steps that failed as the next one from here."""

    @property
    def expert_runs(self) -> int:
        """How many experts were run for it, on the picture or on its faces."""
        if self.faces:
            return self.faces.expert_runs
        return sum(verdict.expert != KEEP_INPUT for verdict in self.verdicts)

    @property
    def gain(self) -> float:
        """By how much its step scored better than doing nothing; 0 where that was no candidate."""
        kept = [verdict.score for verdict in self.verdicts if verdict.expert == KEEP_INPUT]
        return self.score - kept[0] if kept else 0.0


class ModelCall(_Frozen):
    """One question to a language model, and what came of it."""

    purpose: Literal["perceive", "order", "judge"]
    model: str
    seconds: float
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """US dollars; None where no prices are known."""
    reply: str = ""
    """The beginning of what it wrote."""
    problem: str | None = None
    """Why the reply could not be used."""


class ModelUse(_Frozen):
    """All calls of a run together."""

    calls: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    @property
    def summary(self) -> str:
        """In words; empty where nobody was asked."""
        if not self.calls:
            return ""
        cost = "" if self.cost is None else f", ${self.cost:.4f}"
        tokens = self.prompt_tokens + self.completion_tokens
        return f"{self.calls} model calls in {self.seconds:.1f} s, {tokens} tokens{cost}"

    def plus(self, call: ModelCall) -> ModelUse:
        """With one call more."""
        return ModelUse(
            calls=self.calls + 1,
            seconds=self.seconds + call.seconds,
            prompt_tokens=self.prompt_tokens + call.prompt_tokens,
            completion_tokens=self.completion_tokens + call.completion_tokens,
            cost=self.cost if call.cost is None else (self.cost or 0.0) + call.cost,
        )


class RunState(_Frozen):
    """All of a run but its pixels."""

    version: Literal[1] = 1
    id: str
    source: str
    output: str
    overwrite: bool
    profile: Profile
    reasoner: str
    perception: Perception | None = None
    plan: Plan | None = None
    nodes: tuple[Node, ...] = ()
    current: int = 0
    restart_node: int | None = None
    """Where the first branch ended; set once the run has begun again from its input."""
    expert_runs: int = 0
    model_use: ModelUse = ModelUse()
    seconds: dict[str, float] = {}
    """Wall time by part: reading, perception, planning, experts, scoring, finishing, writing, trace."""
    warnings: tuple[str, ...] = ()
    finished: bool = False

    def with_node(self, node: Node) -> RunState:
        """The state with one node more, or with another version of one."""
        return self.model_copy(update={"nodes": (*self.nodes[: node.id], node, *self.nodes[node.id + 1 :])})

    def path_to(self, node: int) -> tuple[Node, ...]:
        """The nodes from the input to that one."""
        path: list[Node] = []
        index: int | None = node
        while index is not None:
            path.append(self.nodes[index])
            index = path[-1].parent
        return tuple(reversed(path))

    def gain_of(self, node: int) -> float:
        """By how much the steps to that node scored better than doing nothing; enlargements do not count."""
        return sum(one.gain for one in self.path_to(node))
