"""Structured reports of the data tools and of the command line's --json."""

from __future__ import annotations

from typing import cast

from pydantic import BaseModel, Field

from agent.batch.runner import Failure
from agent.perception import suggested_profile
from agent.reasoners.replies import SeverityWords
from agent.state import Perception
from iqa.content import ContentKind
from toolbox.tasks import Degradation, Task


class Picture(BaseModel, extra="forbid"):
    """An image in the workspace, which other calls can refer to."""

    handle: str = Field(description="Pass this as the image of another call.")
    width: int
    height: int


class FindingReport(BaseModel, extra="forbid"):
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


class Diagnosis(BaseModel, extra="forbid"):
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
                **finding.model_dump(include={"confidence", "measurements"}),
                degradation=name,
                severity=cast(SeverityWords, finding.severity.words),
                present=finding.present,
                task=name.task,
                where=[round(level, 2) for level in finding.where],
            )
            for name, finding in order
        ]
        same = {"description", "quality", "metrics", "content", "content_confidence", "by"}
        facts = perception.model_dump(include=same)
        return cls(**facts, findings=findings, suggested_profile=suggested_profile(perception))


class DegradationReport(BaseModel, extra="forbid"):
    """Result of `reason_degradations` and of `restore4k analyze`."""

    image: Picture | None
    diagnosis: Diagnosis
    warnings: list[str] = []


class MeasuredMetric(BaseModel, extra="forbid"):
    """One metric that was measured."""

    name: str
    value: float
    range: tuple[float, float]
    higher_is_better: bool
    about: str


class MissingMetric(BaseModel, extra="forbid"):
    """One published metric that cannot run here yet."""

    name: str
    about: str
    licence: str
    advice: str = Field(description="What is missing, and the command that installs it.")


class QualityReport(BaseModel, extra="forbid"):
    """Result of `analyze_quality` and of `restore4k quality`."""

    image: Picture | None
    quality: float = Field(description="0..1, higher is better; the score that Q-MoE ranks by.")
    metrics: list[MeasuredMetric] = Field(description="Metrics that were measured.")
    missing: list[MissingMetric] = Field(description="Metrics that are not installed, and how to install them.")


class PlannedStep(BaseModel, extra="forbid"):
    """One step of a plan."""

    task: Task
    scale: int
    experts: list[str] = Field(description="The candidates that Q-MoE would run.")


class PlanReport(BaseModel, extra="forbid"):
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


class FolderReport(BaseModel, extra="forbid"):
    """Result of `restore_folder`."""

    summary: str
    folder: str = Field(description="Folder of the results, with the subfolders of the pictures.")
    page: str = Field(description="HTML page with totals, failures and thumbnails before and after.")
    pictures: int
    restored: int = Field(description="Pictures that a step changed, including earlier calls.")
    unchanged: int = Field(description="Pictures that needed no step, or whose input was better; at most resized.")
    in_earlier_calls: int
    failed: int
    failures: list[Failure] = Field(description="The first twenty; failures.jsonl beside the page lists all.")
    finished: bool = Field(description="False: stopped before the end; repeat the call to resume.")
