"""What tools and the command line's --json give back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from agent.batch.runner import Failure
from agent.perception import suggested_profile
from agent.reasoners.replies import SeverityWords
from agent.run import StepTaken
from agent.state import FaceWork, ModelUse, Perception, Plan, Verdict
from iqa.content import ContentKind
from profiles.schema import Profile
from server.expert_report import ExpertReport
from toolbox.tasks import Degradation, Task


class _Output(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Picture(_Output):
    """An image that can be named in the next call."""

    handle: str = Field(description="Give this as the image of another call.")
    width: int
    height: int


class FindingReport(_Output):
    """One degradation, as perception sees it."""

    degradation: Degradation
    severity: SeverityWords
    confidence: float
    present: bool = Field(description="Bad enough (medium or more) to be worth a task.")
    task: Task = Field(description="The task that removes it.")
    measurements: dict[str, float]
    where: list[float] = Field(
        description="Severity 0..4 in a 3x3 grid, row by row; empty where that cannot be said."
    )


class Diagnosis(_Output):
    """What is wrong with an image."""

    description: str
    quality: float = Field(description="0..1, higher is better; what Q-MoE ranks by.")
    metrics: dict[str, float]
    findings: list[FindingReport] = Field(description="Worst first.")
    content: ContentKind = Field(description="What kind of picture it is.")
    content_confidence: float
    suggested_profile: str = Field(description="A profile made for such pictures; default where none is.")
    by: str = Field(description="The reasoner that says so.")

    @classmethod
    def of(cls, perception: Perception) -> Diagnosis:
        """The same in the words of the outside."""
        order = sorted(perception.findings.items(), key=lambda item: (-item[1].severity, -item[1].confidence))
        findings = [
            FindingReport(
                degradation=name,
                severity=cast(SeverityWords, finding.severity.words),
                confidence=finding.confidence,
                present=finding.present,
                task=name.task,
                measurements=finding.measurements,
                where=[round(level, 2) for level in finding.where],
            )
            for name, finding in order
        ]
        return cls(
            description=perception.description,
            quality=perception.quality,
            metrics=perception.metrics,
            findings=findings,
            content=perception.content,
            content_confidence=perception.content_confidence,
            suggested_profile=suggested_profile(perception),
            by=perception.by,
        )


class DegradationReport(_Output):
    """Answer of `reason_degradations` and of `restore4k analyze`."""

    image: Picture | None
    diagnosis: Diagnosis
    warnings: list[str] = []


class MeasuredMetric(_Output):
    """One metric that ran."""

    name: str
    value: float
    range: tuple[float, float]
    higher_is_better: bool
    about: str


class MissingMetric(_Output):
    """One published metric that cannot run here yet."""

    name: str
    about: str
    licence: str
    advice: str = Field(description="What is missing, and the command that gets it.")


class QualityReport(_Output):
    """Answer of `analyze_quality` and of `restore4k quality`."""

    image: Picture | None
    quality: float = Field(description="0..1, higher is better; what Q-MoE ranks by.")
    metrics: list[MeasuredMetric] = Field(description="What was measured.")
    missing: list[MissingMetric] = Field(description="What could be measured too, and how to get it.")


class PlannedStep(_Output):
    """One step of a plan."""

    task: Task
    scale: int
    experts: list[str] = Field(description="The candidates that Q-MoE would run.")


class PlanReport(_Output):
    """Answer of `plan_restoration` and of `restore4k plan`."""

    image: Picture | None
    profile: str
    steps: list[PlannedStep] = Field(description="In the order in which they are done; empty: nothing to do.")
    final_width: int
    final_height: int
    reasons: list[str]
    warnings: list[str]
    by: str
    diagnosis: Diagnosis

    @classmethod
    def of(
        cls,
        plan: Plan,
        experts: Sequence[Sequence[str]],
        perception: Perception,
        profile: Profile,
        image: Picture | None,
    ) -> PlanReport:
        """`experts`: the candidates of each step."""
        return cls(
            image=image,
            profile=profile.name,
            steps=[
                PlannedStep(task=step.task, scale=step.scale, experts=list(names))
                for step, names in zip(plan.steps, experts, strict=True)
            ],
            final_width=plan.final_width,
            final_height=plan.final_height,
            reasons=list(plan.reasons),
            warnings=list(plan.warnings),
            by=plan.by,
            diagnosis=Diagnosis.of(perception),
        )


class StepReport(_Output):
    """Answer of a task tool and of `select_best`."""

    summary: str
    image: Picture
    file: str | None = Field(description="Where the result is saved; null where the input was kept.")
    expert: str = Field(description="Whose result it is; keep_input: the input is better than every expert's result.")
    improved: bool = Field(description="False where the input was kept.")
    verdicts: list[Verdict] = Field(description="Every candidate's, best first.")
    faces: FaceWork | None = Field(
        default=None, description="Face by face, and by which means; null for every other task."
    )


class CandidateReport(_Output):
    """One candidate of a step."""

    handle: str | None = Field(description="null where the expert failed, or was ruled out by prescreening.")
    verdict: Verdict


class CandidatesReport(_Output):
    """Answer of `run_candidates`."""

    image: Picture = Field(description="The step's input.")
    task: Task
    scale: int
    candidates: list[CandidateReport] = Field(description="Best first; choose by select_best.")


class RestorationReport(_Output):
    """Answer of `restore_to_4k`."""

    summary: str
    image: Picture
    file: str = Field(description="Where the result is saved.")
    run: str = Field(description="Identifier of the run: run://<id>/report and run://<id>/trace show its work.")
    plan: list[str]
    steps: list[StepTaken] = Field(description="What was done on the way to the result, with the winning expert.")
    warnings: list[str]
    seconds: dict[str, float]
    model_use: ModelUse = Field(description="What asking language models took; zero where nobody was asked.")


class FolderReport(_Output):
    """Answer of `restore_folder`."""

    summary: str
    folder: str = Field(description="Where the results are, with the sub-folders of the pictures.")
    page: str = Field(description="A page with figures, failures and thumbnails before and after.")
    record: str = Field(description="JSON lines: what was done with each picture.")
    pictures: int
    restored: int = Field(description="With those of earlier calls.")
    failed: int
    failures: list[Failure] = Field(description="The first twenty; failures.jsonl beside the page has all.")
    finished: bool = Field(description="False: stopped before the end; the same call goes on.")


class FinishReport(_Output):
    """Answer of `finish_restoration`."""

    summary: str
    image: Picture
    file: str = Field(description="Where the result is saved.")


class MetricValues(_Output):
    """One no-reference metric of both images."""

    metric: str
    first: float
    second: float
    better: Literal["first", "second", "equal"]


class Comparison(_Output):
    """Answer of `compare_images`."""

    first: Picture
    second: Picture
    quality_first: float
    quality_second: float
    metrics: list[MetricValues]
    full_reference: dict[str, float] | None = Field(
        description="Fidelity of the second to the first (PSNR in dB, SSIM 0..1); null where the sizes differ."
    )


class ExpertList(_Output):
    """Answer of `list_experts`."""

    experts: list[ExpertReport]
    not_shown: int = Field(description="Experts for the task that cannot run here yet; include_missing shows them.")


class ProfileList(_Output):
    """Answer of `list_profiles`."""

    profiles: list[Profile]
