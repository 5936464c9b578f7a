"""Tools that measure and change nothing: quality, degradations, a plan, a comparison, lists.

Replies have only what a model needs to decide; the command line's JSON has everything.
"""

from __future__ import annotations

from typing import Annotated, Any

from mcp.types import CallToolResult
from pydantic import BeforeValidator, Field

from agent.perception import perceive
from agent.planning import enlargement
from agent.reasoners.reasoner import RULES
from agent.reasoners.reasoner import SURE as CONTENT_SURE
from agent.regions import require_same_shape
from agent.worth import SURE
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.features import extract_features
from iqa.metric import default_metrics
from profiles.loading import predefined_profiles
from server.errors import RequestError
from server.expert_report import ExpertReport
from server.mcp import inputs
from server.mcp.guides import begin_guide
from server.mcp.previews import brightness_correlation, overview_of_two
from server.mcp.responses import data_response, fact, picture_response, shown
from server.mcp.restoration_text import PLAN_GIVEN
from server.mcp.service import Service
from server.mcp.tool_registration import READS, JobTool, tool
from server.mcp.tools_restore import sized
from server.mcp.verdict_text import (
    PLACES,
    better_by_quality,
    better_by_verdict,
    common_verdicts,
    judged_on,
    judgement_of,
    verdict_parts,
)
from server.reports import plan_report, quality_report
from server.schemas import Diagnosis, FindingReport, PlanReport, QualityReport
from toolbox.availability import CAN_RUN
from toolbox.tasks import Task

LEAST_CORRELATION = 0.4
"""Minimum correlation of two reduced versions of one picture; unrelated photos are mostly below 0.3."""


@tool("Measure quality", READS, kind=JobTool)
def analyze_quality(service: Service, token: ProgressToken, image: inputs.ImageArgument) -> CallToolResult:
    """Measure how good a picture looks, without a reference: quality 0-1 and its metrics. To rank versions
    use compare_images; to find what is wrong, reason_degradations. Seconds."""
    source = service.open(image, token, keep=False)
    token.check()
    report = _slim_quality(quality_report(source.image, source.picture, service.experts))
    if candidate := judgement_of(service.workspace, source.picture.handle):
        report["judged"] = (
            f"score {candidate.verdict.score:.3f} for {judged_on(candidate)}; candidates rank by it, not by quality"
        )
    return data_response(report)


@tool("Find degradations", READS, kind=JobTool)
def reason_degradations(service: Service, token: ProgressToken, image: inputs.ImageArgument) -> CallToolResult:
    """Estimate what is wrong: severity and confidence of each degradation. For own steps, with look; trust
    your eyes if they differ. Not needed before restore_to_4k. Seconds."""
    source = service.open(image, token, keep=False)
    token.check()
    features = extract_features(source.image, models=service.experts)
    diagnosis = Diagnosis.of(perceive(source.image, features=features))
    return data_response({"image": source.picture.model_dump(), **_slim_diagnosis(diagnosis)})


@tool("Plan a restoration", READS, kind=JobTool)
def plan_restoration(
    service: Service,
    token: ProgressToken,
    image: inputs.ImageArgument,
    size: inputs.SizeArgument = None,
    profile: inputs.ProfileArgument = "default",
    findings: inputs.FindingsArgument = None,
    description: inputs.DescriptionArgument = None,
    plan: inputs.OrderArgument = None,
    failed: inputs.FailedArgument = None,
    detail: inputs.DetailArgument = None,
) -> CallToolResult:
    """Show what restore_to_4k would do with the same arguments: findings, steps, final size, reasons, and the
    next call; the reply of each step names the next one. To show a plan or follow it; not needed
    before restore_to_4k. Seconds."""
    wanted, caller = service.profile(profile, order=plan, detail=detail), inputs.caller(findings, description)
    source, extent = sized(service.open(image, token, keep=False), size)
    token.check()
    wanted = extent.apply_to(wanted, source.image.long_side)
    factor = enlargement(source.image.long_side, wanted)
    service.require_pixels(source.image.width * factor, source.image.height * factor)
    root = service.digest(image)
    guide = begin_guide(service, root, source.image, wanted, caller or RULES, extent.final)
    report = plan_report(guide.search, source.picture, token, caller, failed or ())
    service.require_pixels(report.final_width, report.final_height)
    if plan is not None:
        report.by = "caller"
        report.reasons = ["the caller gives the plan" if one == PLAN_GIVEN else one for one in report.reasons]
    slim = _slim_plan(report)
    return data_response(slim if extent.crop else slim | {"next": guide.begin(service, image.text, profile)})


def _slim_diagnosis(diagnosis: Diagnosis) -> dict[str, Any]:
    """The findings above very low, and the kind of content if its confidence is high."""
    shown = {"description", "quality"}
    if diagnosis.content_confidence >= CONTENT_SURE:
        shown |= {"content"} if diagnosis.suggested_profile == "default" else {"content", "suggested_profile"}
    findings = [_finding(one) for one in diagnosis.findings if one.severity != "very low"]
    return diagnosis.model_dump(mode="json", include=shown) | {"findings": findings}


def _finding(finding: FindingReport) -> dict[str, Any]:
    slim = finding.model_dump(mode="json", exclude={"where", "measurements"})
    if finding.present:
        slim |= {"in_doubt": finding.confidence < SURE or None, "measurements": finding.measurements}
    return slim


def _slim_plan(report: PlanReport) -> dict[str, Any]:
    """Steps with the experts that would run, sizes, reasons and findings."""
    steps = [step.model_dump(mode="json") | {"experts": ", ".join(step.experts)} for step in report.steps]
    found = [_finding(one) | {"measurements": None} for one in report.diagnosis.findings if one.present]
    return report.model_dump(mode="json", exclude={"diagnosis"}) | {"steps": steps, "findings": found}


def _slim_quality(report: QualityReport) -> dict[str, Any]:
    """The score, its metrics, and the names of the missing metrics."""
    metrics = [
        {"name": one.name, "value": one.value, "better": "higher" if one.higher_is_better else "lower"}
        for one in report.metrics
    ]
    missing = ", ".join(one.name for one in report.missing)
    slim = report.model_dump(mode="json", include={"image", "quality"})
    return slim | {"metrics": metrics, "not_installed": missing}


@tool("Compare two images", READS, kind=JobTool)
def compare_images(
    service: Service, token: ProgressToken, first: inputs.ImageArgument, second: inputs.ImageArgument
) -> CallToolResult:
    """Compare two versions of one picture: which is better and by what measure, PSNR and SSIM between them
    (high means similar, not good), both side by side, reduced. For details use look with beside. Seconds."""
    sources = service.open(first, token, keep=False), service.open(second, token, keep=False)
    a, b = (source.image for source in sources)
    require_same_shape(a, b)
    correlation = brightness_correlation(a, b)
    if correlation < LEAST_CORRELATION:
        raise RequestError(
            f"these are different pictures (correlation {correlation:.2f})",
            "give two versions of one picture; look shows one",
        )
    reports = []
    for source in sources:
        token.check()
        reports.append(quality_report(source.image, source.picture, service.experts))
    if judged := common_verdicts(service.workspace, service.digest(first), service.digest(second)):
        scores = [f"score {verdict.score:.3f} ({verdict_parts(verdict)})" for verdict in judged[1]]
        better = better_by_verdict(*judged)
    else:
        scores = [f"quality {report.quality:.4f}" for report in reports]
        better = better_by_quality(*(report.quality for report in reports))
    lines = [
        *(
            fact(name, f"{source.picture.handle} {source.image.width}x{source.image.height}, {score}")
            for name, source, score in zip(PLACES, sources, scores, strict=True)
        ),
        better,
        fact("metrics", "; ".join(_both_values(*reports))),
        fact("fidelity", _fidelity(a, b, token)),
    ]
    return picture_response(lines, shown(overview_of_two(a, b)))


def _both_values(one: QualityReport, two: QualityReport) -> list[str]:
    """The metrics that both reports have."""
    values = {metric.name: metric.value for metric in one.metrics}
    return [
        f"{metric.name} {values[metric.name]:.4g} -> {metric.value:.4g}"
        + ("" if metric.higher_is_better else " (lower is better)")
        for metric in two.metrics
        if metric.name in values
    ]


def _fidelity(a: Image, b: Image, token: ProgressToken) -> str:
    """Full-reference metrics of the second image against the first, if their sizes are equal."""
    if (a.width, a.height) != (b.width, b.height):
        return "not measured, the sizes differ"
    token.check()
    metrics = [metric for metric in default_metrics().values() if metric.reference == "full"]
    return ", ".join(f"{metric.name} {metric.measure(b, a):.4g}" for metric in metrics)


@tool("List experts", READS)
async def list_experts(
    service: Service,
    task: Annotated[Task | None, BeforeValidator(inputs.task_of), inputs.as_text("Such as denoising.")] = None,
    include_missing: Annotated[bool, Field(description="Also those to install.")] = False,
    detail: bool = False,
) -> CallToolResult:
    """List experts by name, a line each; only needed to name one yourself. Quick."""
    store = service.experts.store
    reports = [ExpertReport.of(card, store) for card in service.experts.catalogue if task in (None, card.task)]
    listed = [one for one in reports if include_missing or one.state in CAN_RUN]
    lines = [one.line(detail=detail or task is not None) for one in listed]
    return data_response({"experts": lines, "not_shown": len(reports) - len(listed)})


@tool("List profiles", READS)
async def list_profiles(
    service: Service,
    profile: Annotated[str | None, Field(max_length=80, description="All settings of this one.")] = None,
) -> CallToolResult:
    """List profiles: documents, drawings, aerial, old photos, faces, fast. Quick."""
    if profile:
        return data_response(service.profile(profile).model_dump(mode="json"))
    return data_response({"profiles": [one.known_as for one in predefined_profiles().values()]})


MEASURING_TOOLS = (
    analyze_quality, reason_degradations, plan_restoration, compare_images, list_experts, list_profiles
)  # fmt: skip
