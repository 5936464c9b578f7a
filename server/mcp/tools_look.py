"""Tools that look and change nothing: quality, degradations, a plan, a comparison, lists."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import Field

from agent.perception import perceive
from agent.reasoners.sheet import on_white
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import fitted, resize
from iqa.features import extract_features
from iqa.metric import default_metrics
from iqa.quality import quality_of
from profiles.loading import predefined_profiles
from server.expert_report import ExpertReport
from server.mcp.inputs import (
    DescriptionArgument,
    FailedArgument,
    FindingsArgument,
    ImageArgument,
    InputImage,
    LongSideArgument,
    OrderArgument,
    ProfileArgument,
    ScaleArgument,
    caller,
)
from server.mcp.jobs import Status
from server.mcp.responses import THUMBNAIL_SIDE, previews, response, thumbnail
from server.mcp.service import Service
from server.mcp.tool_registration import READS, add_tool
from server.planning import plan_report
from server.quality_report import quality_report
from server.schemas import (
    Comparison,
    DegradationReport,
    Diagnosis,
    ExpertList,
    MetricValues,
    PlanReport,
    ProfileList,
    QualityReport,
)
from toolbox.availability import CAN_RUN
from toolbox.tasks import Task


def add_look_tools(server: MCPServer[Any], service: Service) -> None:
    """Put them on the server."""
    _add_analyze_quality(server, service)
    _add_reason_degradations(server, service)
    _add_plan_restoration(server, service)
    _add_compare_images(server, service)
    _add_lists(server, service)


def _add_analyze_quality(server: MCPServer[Any], service: Service) -> None:
    async def analyze_quality(
        image: ImageArgument, context: Context[Any, Any]
    ) -> Annotated[CallToolResult, QualityReport]:
        def work(token: ProgressToken, status: Status) -> QualityReport:
            source = service.open(image)
            token.check()
            return quality_report(source.image, source.picture, service.experts)

        return response(await service.jobs.run(context, "analyze_quality", work, "look"))

    add_tool(
        server,
        analyze_quality,
        title="Measure quality",
        description=(
            "Measure how good an image looks, without a reference: one score, the metrics that ran, with their "
            "ranges, and the published ones that are not installed, with how to get them. Use it to compare versions "
            "of one picture. To learn what is wrong with it use reason_degradations. Takes seconds."
        ),
        annotations=READS,
    )


def _add_reason_degradations(server: MCPServer[Any], service: Service) -> None:
    async def reason_degradations(
        image: ImageArgument, context: Context[Any, Any]
    ) -> Annotated[CallToolResult, DegradationReport]:
        def work(token: ProgressToken, status: Status) -> tuple[DegradationReport, Image]:
            source = service.open(image)
            token.check()
            features = extract_features(source.image, models=service.experts)
            perception = perceive(source.image, features=features)
            report = DegradationReport(image=source.picture, diagnosis=Diagnosis.of(perception))
            return report, source.image

        report, picture = await service.jobs.run(context, "reason_degradations", work, "look")
        return response(report, *previews(picture))

    add_tool(
        server,
        reason_degradations,
        title="Find degradations",
        description=(
            "Find out what is wrong with an image: severity, confidence and measurements for noise, motion and "
            "defocus blur, haze, rain, darkness, JPEG artifacts and low resolution, with the task that removes each. "
            "Pictures to look at come along: the whole in small, and of a large photo also a detail in its real "
            "pixels. The first thing to call when you plan a restoration by yourself; where you see it otherwise, "
            "give your own findings to plan_restoration or restore_to_4k. Not needed before restore_to_4k. "
            "Takes seconds."
        ),
        annotations=READS,
    )


def _add_plan_restoration(server: MCPServer[Any], service: Service) -> None:
    async def plan_restoration(
        image: ImageArgument,
        context: Context[Any, Any],
        profile: ProfileArgument = "default",
        scale: ScaleArgument = None,
        long_side: LongSideArgument = None,
        findings: FindingsArgument = None,
        description: DescriptionArgument = None,
        plan: OrderArgument = None,
        failed: FailedArgument = None,
    ) -> Annotated[CallToolResult, PlanReport]:
        def work(token: ProgressToken, status: Status) -> PlanReport:
            wanted = service.profile(profile, scale=scale, long_side=long_side, order=plan)
            reasoner = caller(findings, description)
            source = service.open(image)
            token.check()
            return plan_report(source.image, wanted, service.experts, source.picture, token, reasoner, failed or ())

        return response(await service.jobs.run(context, "plan_restoration", work, "look"))

    add_tool(
        server,
        plan_restoration,
        title="Plan a restoration",
        description=(
            "Say what restore_to_4k would do with an image, without doing it: the steps in order with their "
            "candidate experts, the reasons, and the final size. Use it to show the user a plan, or to carry it out "
            "step by step; not needed before restore_to_4k, which plans itself. Give your own `findings` to plan by "
            "them, or your own `plan` to have it completed. Takes seconds."
        ),
        annotations=READS,
    )


def _add_compare_images(server: MCPServer[Any], service: Service) -> None:
    async def compare_images(
        first: ImageArgument, second: ImageArgument, context: Context[Any, Any]
    ) -> Annotated[CallToolResult, Comparison]:
        def work(token: ProgressToken, status: Status) -> tuple[Comparison, Image]:
            return _compare(service, first, second, token)

        report, side_by_side = await service.jobs.run(context, "compare_images", work, "look")
        return response(report, thumbnail(side_by_side, 2 * THUMBNAIL_SIDE))

    add_tool(
        server,
        compare_images,
        title="Compare two images",
        description=(
            "Compare two images: the quality of each without a reference, PSNR and SSIM between them where their "
            "sizes are equal (high means alike, not good), and both side by side in one small picture. Use it to "
            "show before and after. To choose among candidates of a step use select_best. Takes seconds."
        ),
        annotations=READS,
    )


def _add_lists(server: MCPServer[Any], service: Service) -> None:
    async def list_experts(
        task: Annotated[
            Task | None, Field(description="Only the experts for this task; null: all.", examples=["denoising"])
        ] = None,
        include_missing: Annotated[
            bool,
            Field(description="Also those that cannot run here yet, with what to do about it.", examples=[True]),
        ] = False,
    ) -> Annotated[CallToolResult, ExpertList]:
        store = service.experts.store
        reports = [ExpertReport.of(card, store) for card in service.catalogue if task in (None, card.task)]
        shown = [one for one in reports if include_missing or one.state in CAN_RUN]
        return response(ExpertList(experts=shown, not_shown=len(reports) - len(shown)))

    async def list_profiles() -> Annotated[CallToolResult, ProfileList]:
        return response(ProfileList(profiles=list(predefined_profiles().values())))

    add_tool(
        server,
        list_experts,
        title="List experts",
        description=(
            "List the restoration experts: task, scale, method, licence, and whether each can run here. Without "
            "include_missing only those that can. Quick. Only needed to name an `expert` yourself."
        ),
        annotations=READS,
    )
    add_tool(
        server,
        list_profiles,
        title="List profiles",
        description=(
            "List the profiles (ways to restore) with everything that they set. Quick. Only needed where default "
            "does not fit, as for documents, drawings or aerial photos."
        ),
        annotations=READS,
    )


def _compare(
    service: Service, first: InputImage, second: InputImage, token: ProgressToken
) -> tuple[Comparison, Image]:
    a, b = service.open(first), service.open(second)
    token.check()
    quality_a, quality_b = (quality_of(extract_features(source.image, models=service.experts)) for source in (a, b))
    full_reference = None
    if (a.image.width, a.image.height) == (b.image.width, b.image.height):
        token.check()
        full_reference = {
            metric.name: metric.measure(b.image, a.image)
            for metric in default_metrics().values()
            if metric.reference == "full"
        }
    report = Comparison(
        first=a.picture,
        second=b.picture,
        quality_first=quality_a.score,
        quality_second=quality_b.score,
        metrics=[
            _values(name, quality_a.parts[name], quality_b.parts[name])
            for name in quality_a.parts
            if name in quality_b.parts
        ],
        full_reference=full_reference,
    )
    return report, _side_by_side(a.image, b.image)


def _values(name: str, first: float, second: float) -> MetricValues:
    if first == second:
        return MetricValues(metric=name, first=first, second=second, better="equal")
    metric = default_metrics().get(name)
    first_wins = (first > second) == (metric is None or metric.higher_is_better)
    return MetricValues(metric=name, first=first, second=second, better="first" if first_wins else "second")


def _side_by_side(first: Image, second: Image) -> Image:
    """Both at one height, next to each other, on white."""
    import torch

    height, _ = fitted(first.height, first.width, THUMBNAIL_SIDE)
    parts = [
        on_white(image.with_pixels(resize(image.pixels, height, max(1, round(image.width * height / image.height)))))
        for image in (first, second)
    ]
    return Image(torch.cat(parts, dim=2))
