"""Tables and lines of the command line's results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console

    from agent.run import RestorationSummary
    from profiles.schema import Profile
    from server.cli.doctor import Check
    from server.expert_report import ExpertReport
    from server.schemas import DegradationReport, PlanReport, QualityReport


def table_of(names: Iterable[str], header: str, *others: str) -> Table:
    """An empty table whose first column never truncates these names, which users copy."""
    first = Column(header, no_wrap=True, min_width=max(map(len, names), default=0))
    return Table(first, *(Column(other, overflow="fold") for other in others))


def show_restoration(console: Console, summary: RestorationSummary) -> None:
    """Show the result of a run."""
    if summary.steps:
        table = Table("step", "expert", "score")
        for step in summary.steps:
            table.add_row(step.step, step.expert, f"{step.score:.3f}")
        console.print(table)
    for reason in summary.left:
        console.print(f"left:    {reason}")
    console.print(f"picture: {summary.output} ({summary.width}x{summary.height})")
    console.print(f"report:  {summary.report}")
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in summary.seconds.items() if seconds >= 0.05)
    console.print(f"seconds: {sum(summary.seconds.values()):.1f} ({parts})")
    if use := summary.model_use.summary:
        console.print(f"models:  {use}")


def show_quality(console: Console, report: QualityReport) -> None:
    """Show the measured metrics and the missing ones."""
    console.print(f"quality {report.quality:.3f}")
    table = Table("metric", "value", "range", "better", "about")
    for metric in report.metrics:
        low, high = metric.range
        better = "higher" if metric.higher_is_better else "lower"
        table.add_row(metric.name, f"{metric.value:.4g}", f"{low:g}..{high:g}", better, metric.about)
    console.print(table)
    for missing in report.missing:
        console.print(f"not installed: {missing.name}; {missing.advice}")


def show_diagnosis(console: Console, report: DegradationReport) -> None:
    """Show the degradations of an image."""
    diagnosis = report.diagnosis
    console.print(diagnosis.description)
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in diagnosis.metrics.items())
    console.print(f"quality {diagnosis.quality:.3f} ({metrics})")
    table = Table("degradation", "severity", "confidence", "measurements")
    for finding in diagnosis.findings:
        measurements = ", ".join(f"{name} {value:.3g}" for name, value in finding.measurements.items())
        table.add_row(finding.degradation.value, finding.severity, f"{finding.confidence:.2f}", measurements)
    console.print(table)
    for warning in report.warnings:
        console.print(f"warning: {warning}")


def show_plan(console: Console, report: PlanReport) -> None:
    """Show a plan with its reasons."""
    console.print(report.diagnosis.description)
    table = Table("", "step", "experts")
    for number, step in enumerate(report.steps, 1):
        scale = f" {step.scale}x" if step.scale > 1 else ""
        table.add_row(str(number), f"{step.task.value}{scale}", ", ".join(step.experts))
    console.print(table if report.steps else "nothing to do")
    console.print(f"result: {report.final_width}x{report.final_height} with profile {report.profile}")
    for reason in report.reasons:
        console.print(f"- {reason}")
    for warning in report.warnings:
        console.print(f"warning: {warning}")


def show_experts(console: Console, experts: Sequence[ExpertReport]) -> None:
    """Show the experts, and what the unavailable ones need."""
    names = (one.name for one in experts)
    table = table_of(names, "expert", "task", "scale", "state", "commercial use", "about")
    for one in experts:
        table.add_row(one.name, one.task.value, f"{one.scale}x", one.state, one.commercial, one.about)
    console.print(table)
    for one in experts:
        if one.advice:
            console.print(f"{one.name}: {one.advice}")


def show_profiles(console: Console, profiles: Sequence[Profile]) -> None:
    """Show names and descriptions of profiles."""
    table = table_of((profile.name for profile in profiles), "profile", "about")
    for profile in profiles:
        table.add_row(profile.name, profile.about)
    console.print(table)


def show_profile(console: Console, profile: Profile) -> None:
    """Show all settings of a profile."""
    console.print(profile.known_as)
    table = Table("key", "value", "meaning")
    for key, field in type(profile).model_fields.items():
        table.add_row(key, str(getattr(profile, key)), field.description or "")
    console.print(table)


def show_checks(console: Console, checks: Sequence[Check]) -> None:
    """Show the results of the checks."""
    for check in checks:
        hint = f"; {check.hint}" if check.hint else ""
        console.print(f"{check.state:8} {check.name}: {check.found}{hint}")
