"""Structured results of the tools and of the command line's --json."""

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
    """An image in the workspace, which other calls can refer to."""

    handle: str = Field(description="Pass this as the image of another call.")
    width: int
    height: int


class FindingReport(_Output):
    """One degradation, as perception assesses it."""

    degradation: Degradation
    severity: SeverityWords
    confidence: float
    present: bool = Field(description="Whether it is severe enough (medium or more) for a task.")
    task: Task = Field(description="The task that removes it.")
    measurements: dict[str, float]
    where: list[float] = Field(
        description="Severity 0..4 in a 3x3 grid, row by row; empty if it cannot be localised."
    )


class Diagnosis(_Output):
    """The degradations, quality and content of an image."""

    description: str
    quality: float = Field(description="0..1, higher is better; the score that Q-MoE ranks by.")
    metrics: dict[str, float]
    findings: list[FindingReport] = Field(description="Worst first.")
    content: ContentKind = Field(description="Kind of picture.")
    content_confidence: float
    suggested_profile: str = Field(description="The profile for this kind of picture.")
    by: str = Field(description="The reasoner that assessed the image.")

    @classmethod
    def of(cls, perception: Perception) -> Diagnosis:
        """The diagnosis of a perception."""
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
    """Result of `reason_degradations` and of `restore4k analyze`."""

    image: Picture | None
    diagnosis: Diagnosis
    warnings: list[str] = []


class MeasuredMetric(_Output):
    """One metric that was measured."""

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
    advice: str = Field(description="What is missing, and the command that installs it.")


class QualityReport(_Output):
    """Result of `analyze_quality` and of `restore4k quality`."""

    image: Picture | None
    quality: float = Field(description="0..1, higher is better; the score that Q-MoE ranks by.")
    metrics: list[MeasuredMetric] = Field(description="Metrics that were measured.")
    missing: list[MissingMetric] = Field(description="Metrics that are not installed, and how to install them.")


class PlannedStep(_Output):
    """One step of a plan."""

    task: Task
    scale: int
    experts: list[str] = Field(description="The candidates that Q-MoE would run.")


class PlanReport(_Output):
    """Result of `plan_restoration` and of `restore4k plan`."""

    image: Picture | None
    profile: str
    steps: list[PlannedStep] = Field(description="In order of execution; empty: nothing to do.")
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
        """The report of a plan; `experts` are the candidates of each step."""
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
    """Result of a task tool and of `select_best`."""

    summary: str
    image: Picture
    file: str | None = Field(description="Path of the saved result; null if the input was kept.")
    expert: str = Field(
        description="Expert that made the result; keep_input: the input scored better than every expert's result."
    )
    improved: bool = Field(description="False if the input was kept.")
    verdicts: list[Verdict] = Field(description="Verdicts of all candidates, best first.")
    faces: FaceWork | None = Field(
        default=None, description="What was done with each face, and by which models; null for every other task."
    )


class CandidateReport(_Output):
    """One candidate of a step."""

    handle: str | None = Field(description="null if the expert failed or was ruled out by prescreening.")
    verdict: Verdict


class CandidatesReport(_Output):
    """Result of `run_candidates`."""

    image: Picture = Field(description="The step's input.")
    task: Task
    scale: int
    candidates: list[CandidateReport] = Field(description="Best first; select_best chooses one.")


class RestorationReport(_Output):
    """Result of `restore_to_4k`."""

    summary: str
    image: Picture
    file: str = Field(description="Path of the saved result.")
    run: str = Field(
        description="Identifier of the run; its report is run://<id>/report, its trace run://<id>/trace."
    )
    plan: list[str]
    steps: list[StepTaken] = Field(description="Steps that led to the result, with the winning experts.")
    warnings: list[str]
    seconds: dict[str, float]
    model_use: ModelUse = Field(
        description="Calls of language models with time, tokens and cost; zero if none was called."
    )


class FolderReport(_Output):
    """Result of `restore_folder`."""

    summary: str
    folder: str = Field(description="Folder of the results, with the subfolders of the pictures.")
    page: str = Field(description="HTML page with totals, failures and thumbnails before and after.")
    record: str = Field(description="JSON lines file with the outcome of each picture.")
    pictures: int
    restored: int = Field(description="Including earlier calls.")
    failed: int
    failures: list[Failure] = Field(description="The first twenty; failures.jsonl beside the page lists all.")
    finished: bool = Field(description="False: stopped before the end; repeat the call to resume.")


class FinishReport(_Output):
    """Result of `finish_restoration`."""

    summary: str
    image: Picture
    file: str = Field(description="Path of the saved result.")


class MetricValues(_Output):
    """One no-reference metric of two images."""

    metric: str
    first: float
    second: float
    better: Literal["first", "second", "equal"]


class Comparison(_Output):
    """Result of `compare_images`."""

    first: Picture
    second: Picture
    quality_first: float
    quality_second: float
    metrics: list[MetricValues]
    full_reference: dict[str, float] | None = Field(
        description="Fidelity of the second to the first (PSNR in dB, SSIM 0..1); null where the sizes differ."
    )


class ExpertList(_Output):
    """Result of `list_experts`."""

    experts: list[ExpertReport]
    not_shown: int = Field(description="Experts for the task that cannot run here yet; include_missing shows them.")


class ProfileList(_Output):
    """Result of `list_profiles`."""

    profiles: list[Profile]
