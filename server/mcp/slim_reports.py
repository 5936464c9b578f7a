"""Reports for a model: only what it needs to decide; the command line's JSON has everything."""

from __future__ import annotations

from typing import Any

from agent.reasoners.reasoner import SURE as CONTENT_SURE
from agent.worth import SURE
from server.schemas import Diagnosis, FindingReport, PlanReport, QualityReport


def slim_diagnosis(diagnosis: Diagnosis) -> dict[str, Any]:
    """The findings above very low, and the kind of content if its confidence is high."""
    slim: dict[str, Any] = {
        "description": diagnosis.description,
        "quality": diagnosis.quality,
        "findings": [_finding(one) for one in diagnosis.findings if one.severity != "very low"],
    }
    if diagnosis.content_confidence >= CONTENT_SURE:
        slim["content"] = diagnosis.content.value
        if diagnosis.suggested_profile != "default":
            slim["suggested_profile"] = diagnosis.suggested_profile
    return slim


def _finding(finding: FindingReport) -> dict[str, Any]:
    slim: dict[str, Any] = {
        "degradation": finding.degradation.value,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "task": finding.task.value,
        "present": finding.present,
    }
    if finding.present:
        slim["in_doubt"] = True if finding.confidence < SURE else None
        slim["measurements"] = finding.measurements
    return slim


def slim_plan(report: PlanReport) -> dict[str, Any]:
    """Steps with the experts that would run, sizes, reasons and findings."""
    return {
        "image": report.image.model_dump() if report.image else None,
        "profile": report.profile,
        "steps": [
            {"task": step.task.value, "scale": step.scale, "experts": ", ".join(step.experts)}
            for step in report.steps
        ],
        "final_width": report.final_width,
        "final_height": report.final_height,
        "reasons": report.reasons,
        "warnings": report.warnings,
        "by": report.by,
        "findings": [_finding(one) | {"measurements": None} for one in report.diagnosis.findings if one.present],
    }


def slim_quality(report: QualityReport) -> dict[str, Any]:
    """The score, its metrics, and the names of the missing metrics."""
    return {
        "image": report.image.model_dump() if report.image else None,
        "quality": report.quality,
        "metrics": [
            {"name": one.name, "value": one.value, "better": "higher" if one.higher_is_better else "lower"}
            for one in report.metrics
        ],
        "not_installed": ", ".join(one.name for one in report.missing) or None,
    }
