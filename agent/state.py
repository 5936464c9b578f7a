"""The state of a run: one value from which it can be resumed, reported and displayed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from iqa.content import ContentKind
from profiles.schema import Profile
from toolbox.tasks import Degradation, Severity, Task

MOST_NODES, MOST_STEPS = 1000, 100
"""Upper bounds; a file that exceeds them was not written by this program."""
Side: TypeAlias = Annotated[int, Field(ge=1, lt=1 << 31)]
"""Width or height in pixels."""
KEEP_INPUT = "keep_input"
"""The candidate that keeps the step's input."""
UNTOUCHED, HALF_CLEANED = ".untouched", ".half_cleaned"
"""Suffixes of enlarged candidates: from the photo before cleaning, and from its mean with the cleaned one."""


def expert_of(candidate: str) -> str:
    """The expert of a candidate, whose name may end in the suffix of a path.

    >>> expert_of("lanczos_2x.half_cleaned")
    'lanczos_2x'
    """
    return candidate.removesuffix(UNTOUCHED).removesuffix(HALF_CLEANED)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Frozen):
    """The assessment of one degradation."""

    severity: Severity
    confidence: float = Field(ge=0, le=1)
    measurements: dict[str, float] = {}
    """Measured numbers; their names include the unit."""
    estimated: Severity | None = None
    """The estimator's severity, if a caller or model reported another one."""
    where: tuple[float, ...] = Field(default=(), max_length=9)
    """The severity in each cell of a 3x3 grid, row by row, 0..4; empty if it cannot be localised."""

    @property
    def present(self) -> bool:
        """Whether it is severe enough for a task."""
        return self.severity >= Severity.MEDIUM


class TaskGain(_Frozen):
    """The expected gain of a task on a picture, in PSNR (dB)."""

    low_db: float
    """Lower quantile: above zero the gain is clear."""
    median_db: float


class Perception(_Frozen):
    """The degradations, quality and content of an image, as a reasoner assesses them."""

    width: Side
    height: Side
    quality: float = Field(ge=0, le=1)
    metrics: dict[str, float]
    findings: dict[Degradation, Finding]
    gains: dict[Task, TaskGain] = {}
    """The expected gain of the best expert of each task."""
    content: ContentKind = ContentKind.PHOTO
    content_confidence: float = Field(default=0.0, ge=0, le=1)
    description: str
    """One sentence, for the trace and for metrics that compare a picture with a text."""
    by: str
    """The reasoner's name."""

    def present(self) -> tuple[Degradation, ...]:
        """The degradations that are severe enough for a task, worst first."""
        worst_first = sorted((-found.severity, -found.confidence, name) for name, found in self.findings.items())
        return tuple(name for _, _, name in worst_first if self.findings[name].present)


class Step(_Frozen):
    """One entry of a plan."""

    task: Task
    scale: Literal[1, 2, 4, 16] = 1

    def __str__(self) -> str:
        return self.task.value if self.scale == 1 else f"{self.task.value} {self.scale}x"


class Plan(_Frozen):
    """Ordered steps with their reasons."""

    steps: tuple[Step, ...] = Field(max_length=MOST_STEPS)
    final_width: Side
    final_height: Side
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    by: str


class Verdict(_Frozen):
    """The assessment of one candidate of a step by Q-MoE."""

    model_config = ConfigDict(extra="ignore")  # runs of earlier versions have `removal`

    expert: str
    score: FiniteFloat
    """Candidate score, 0..1."""
    quality: FiniteFloat = 0.0
    consistency: FiniteFloat = 0.0
    expert_prior: FiniteFloat = 0.0
    """The prior of the expert, from its expected gain or from trials on synthesised degradations."""
    cost: Literal[0, 1, 2, 3] = 0
    """0 for the input, 1 for a classical algorithm, 2 for a network, 3 for a diffusion model."""
    metrics: dict[str, float] = {}
    seconds: FiniteFloat = 0.0
    stage: Literal["prescreen", "full"] = "full"
    error: str | None = None
    """Why there is no result; the score is then 0."""

    @classmethod
    def mean(cls, expert: str, verdicts: Sequence[Verdict], **facts: Any) -> Verdict:
        """The mean of verdicts on parts of a picture."""
        names = ("score", "quality", "consistency")
        means: dict[str, Any] = {name: fmean(getattr(one, name) for one in verdicts) for name in names}
        return cls(expert=expert, seconds=sum(one.seconds for one in verdicts), **means, **facts)


class FaceResult(_Frozen):
    """The result of one face."""

    left: float
    top: float
    width: float
    height: float
    """Its box, in pixels of the step's input."""
    found_in: Literal["original", "input", "both"]
    """In the run's input, in the step's input, or in both at the same place."""
    placed_by: Literal["landmarks", "size"] = "landmarks"
    """How it was aligned; profile views are aligned by their size."""
    expert: str = KEEP_INPUT
    identity: float = 1.0
    """Similarity of the chosen crop to the original face, 0..1."""
    verdicts: tuple[Verdict, ...] = ()
    """Verdicts of all candidates, with the metrics `identity` and `face_quality`; empty for a skipped face."""
    left_alone: str = ""
    """Why no expert was tried."""


class FaceWork(_Frozen):
    """The result of a face step, and the models that it used."""

    detector: str
    identity: str
    quality: str
    same_from: float
    """Identity below which a candidate shows another person."""
    faces: tuple[FaceResult, ...] = ()

    @property
    def expert_runs(self) -> int:
        """Number of expert runs on crops."""
        return sum(verdict.expert != KEEP_INPUT for face in self.faces for verdict in face.verdicts)


class Node(_Frozen):
    """One image of a run. The tree of nodes is the run's history."""

    id: int
    parent: int | None = None
    """None for the input, which is the first node; otherwise an earlier one."""
    step: Step | None = None
    """The step that made it; None for the input."""
    expert: str | None = None
    width: Side
    height: Side
    score: float = 0.0
    verdicts: tuple[Verdict, ...] = ()
    margin: float | None = None
    """Difference between the best and the second-best score; below the score's error it is a tie."""
    faces: FaceWork | None = None
    """Outcome for each face, in a face step."""
    failed: bool = False
    """Whether the step failed; its image may be kept as a compromise."""
    remaining_steps: tuple[Step, ...] = Field(max_length=MOST_STEPS)
    """Steps still to be done from here."""
    failed_first_steps: tuple[Step, ...] = Field(default=(), max_length=MOST_STEPS)
    """Steps that failed as the next one from here."""

    @property
    def expert_runs(self) -> int:
        """Number of expert runs for this node, on the picture or on its faces."""
        if self.faces:
            return self.faces.expert_runs
        return sum(verdict.expert != KEEP_INPUT for verdict in self.verdicts)

    @property
    def gain(self) -> float:
        """Score of the step minus that of keeping the input; 0 if keeping it was not a candidate."""
        kept = [verdict.score for verdict in self.verdicts if verdict.expert == KEEP_INPUT]
        return self.score - kept[0] if kept else 0.0


class ModelCall(_Frozen):
    """One call of a language model."""

    purpose: Literal["perceive", "order", "judge"]
    model: str
    seconds: FiniteFloat
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """US dollars; None if no prices are known."""
    reply: str = ""
    """The beginning of the reply."""
    problem: str | None = None
    """Why the reply could not be used."""


class ModelUse(_Frozen):
    """All calls of a run together."""

    calls: int = 0
    seconds: FiniteFloat = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    @property
    def summary(self) -> str:
        """The totals in one line; empty without calls."""
        if not self.calls:
            return ""
        cost = "" if self.cost is None else f", ${self.cost:.4f}"
        tokens = self.prompt_tokens + self.completion_tokens
        return f"{self.calls} model calls in {self.seconds:.1f} s, {tokens} tokens{cost}"

    def plus(self, call: ModelCall) -> ModelUse:
        """The sum with one more call."""
        return ModelUse(
            calls=self.calls + 1,
            seconds=self.seconds + call.seconds,
            prompt_tokens=self.prompt_tokens + call.prompt_tokens,
            completion_tokens=self.completion_tokens + call.completion_tokens,
            cost=self.cost if call.cost is None else (self.cost or 0.0) + call.cost,
        )


class ResultFile(_Frozen):
    """The written result, recorded just before its temporary file is renamed to the output path."""

    sha256: str
    temporary: str = Field(pattern=r"^\.[0-9a-f]{16}\.part\.[a-z]{3,4}$")
    """Name of the temporary file, which a kill can leave behind."""


class RunState(_Frozen):
    """A run without its pixels."""

    version: Literal[1] = 1
    id: str
    source: str
    output: str = Field(max_length=4096, pattern=r"\A[^\x00]*\z")
    overwrite: bool
    profile: Profile
    reasoner: str
    perception: Perception | None = None
    plan: Plan | None = None
    nodes: tuple[Node, ...] = Field(default=(), max_length=MOST_NODES)
    """Indexed by node id; empty before the input is read."""
    current: int = 0
    restart_node: int | None = None
    """The end of the first branch; set when the run has restarted from its input."""
    expert_runs: int = 0
    model_use: ModelUse = ModelUse()
    strength: float = Field(default=1.0, ge=0, le=1)
    """Weight of the result in its blend with the input."""
    is_masked: bool = False
    """Whether the result replaces the input only inside the mask in the run folder."""
    final_size: tuple[Side, Side] | None = None
    """Width and height that the caller asked for."""
    seconds: dict[str, FiniteFloat] = {}
    """Wall time by part: reading, perception, planning, experts, faces, scoring, finishing, writing, trace, agent."""
    warnings: tuple[str, ...] = ()
    result: ResultFile | None = None
    """Set just before the result is renamed, so that a resumed run recognises it after a kill."""
    helpful_downloads: tuple[str, ...] = ()
    """Downloads of the starter set that a step would have used, and what they gain."""
    finished: bool = False

    @model_validator(mode="after")
    def _is_a_tree(self) -> RunState:
        for index, node in enumerate(self.nodes):
            if node.id != index or not (node.parent is None if index == 0 else node.parent in range(index)):
                raise ValueError(f"node {index} has the number {node.id} and the parent {node.parent}")
        places = range(max(len(self.nodes), not self.finished))
        if self.current not in places or self.restart_node not in (None, *places):
            raise ValueError(f"there are no nodes {self.current} and {self.restart_node}")
        return self

    @classmethod
    def at_input(cls, width: int, height: int, profile: Profile, **facts: object) -> RunState:
        """The state before perception of a picture of that size."""
        root = Node(id=0, width=width, height=height, remaining_steps=())
        nothing = {"id": "", "source": "", "output": "", "overwrite": False, "reasoner": ""}
        return cls.model_validate({**nothing, "profile": profile, "nodes": (root,), **facts})

    def path_to(self, node: int) -> tuple[Node, ...]:
        """The nodes from the input to `node`."""
        path: list[Node] = []
        index: int | None = node
        while index is not None:
            path.append(self.nodes[index])
            index = path[-1].parent
        return tuple(reversed(path))

    def gain_of(self, node: int) -> float:
        """Sum of the gains of the steps to `node`; enlargements do not count."""
        return sum(one.gain for one in self.path_to(node))
