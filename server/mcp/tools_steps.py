"""Tools for callers that plan themselves: one per task, and Q-MoE split into running and selecting."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import BeforeValidator, Field, WithJsonSchema

from agent.reasoners.sheet import candidate_sheet
from agent.regions import regions_of
from agent.state import Step
from imaging.progress import ProgressToken
from server.errors import RequestError
from server.mcp.guides import plan_id
from server.mcp.inputs import (
    TASK_TOOL_NAMES,
    DetailArgument,
    ExpertArgument,
    ExpertsArgument,
    HandleArgument,
    ImageArgument,
    InputImage,
    OutputArgument,
    ProfileArgument,
    RegionArgument,
    StrengthArgument,
    StripArgument,
    TaskArgument,
    scale_of,
    words,
)
from server.mcp.jobs import Status, Work
from server.mcp.masks import mask_image
from server.mcp.responses import fact, picture_line, picture_response, shown
from server.mcp.run_calls import run_or_join
from server.mcp.runs import Reply
from server.mcp.service import Service
from server.mcp.step_text import describe
from server.mcp.steps import StepOptions, finish_image, judge_candidates, select_candidate, take_step
from server.mcp.tool_registration import REPEATABLE, add_tool
from server.profile_options import LONG_SIDES
from toolbox.tasks import Task

MOST_SHEET_BYTES = 240_000
"""Clients truncate replies at about a megabyte, and pictures stay in the conversation."""


SideArgument = Annotated[int | None, Field(ge=1, le=LONG_SIDES[1])]


TASK_TOOLS = {
    "denoise": ("Remove noise", "Remove sensor noise or grain; not JPEG blocks."),
    "dehaze": ("Remove haze", "Remove haze, fog or smog; not mere paleness."),
    "derain": ("Remove rain", "Remove rain streaks; not drops on the lens."),
    "brighten": ("Brighten", "Brighten an underexposed photo; not a night scene meant to be dark."),
    "deblur_motion": ("Remove motion blur", "Sharpen smear in one direction (camera shake)."),
    "deblur_defocus": (
        "Remove defocus blur",
        "Sharpen what is out of focus, soft in all directions; not intended bokeh.",
    ),
    "remove_jpeg_artifacts": (
        "Remove JPEG artifacts",
        "Remove blocks and ringing of compression; before sharpening or enlarging.",
    ),
    "restore_old_photo": (
        "Restore an old photo",
        "Fill scratches and correct faded tones of a scanned print, first; not for digital photos.",
    ),
}
"""Title and purpose of the tools for one task that keep the image's size."""


def add_step_tools(server: MCPServer[Any], service: Service) -> None:
    """Register the tools of all tasks, `run_candidates`, `select_best` and `finish_restoration`."""
    for name, (title, purpose) in TASK_TOOLS.items():
        _add_task_tool(server, service, name, title, purpose)
    _add_restore_faces(server, service)
    _add_super_resolve(server, service)
    _add_run_candidates(server, service)
    _add_select_best(server, service)
    _add_finish(server, service)


def _add_task_tool(server: MCPServer[Any], service: Service, name: str, title: str, purpose: str) -> None:
    async def run_task(
        image: ImageArgument,
        context: Context[Any, Any],
        expert: ExpertArgument = None,
        strength: StrengthArgument = 1.0,
        region: RegionArgument = None,
        profile: ProfileArgument = "default",
        output: OutputArgument = None,
    ) -> CallToolResult:
        options = StepOptions(strength, region, output)
        step = Step(task=TASK_TOOL_NAMES[name])
        return await _step(service, context, name, image, step, expert, profile, options)

    run_task.__name__ = name
    add_tool(server, run_task, title=title, description=f"{purpose} Up to minutes.", annotations=REPEATABLE)


def _add_restore_faces(server: MCPServer[Any], service: Service) -> None:
    async def restore_faces(
        image: ImageArgument,
        context: Context[Any, Any],
        expert: ExpertArgument = None,
        strength: StrengthArgument = 1.0,
        region: RegionArgument = None,
        profile: ProfileArgument = "default",
        output: OutputArgument = None,
        original: Annotated[
            InputImage | None,
            BeforeValidator(lambda given: None if given is None else InputImage.parse(given)),
            WithJsonSchema({"type": "string", "description": "The photo before any step."}),
        ] = None,
    ) -> CallToolResult:
        step, options = Step(task=Task.FACE_RESTORATION), StepOptions(strength, region, output)
        return await _step(service, context, "restore_faces", image, step, expert, profile, options, original)

    add_tool(
        server,
        restore_faces,
        title="Restore faces",
        description=(
            "Restore faces, keeping each person's identity, and change nothing else; last, after enlarging. "
            "Up to minutes."
        ),
        annotations=REPEATABLE,
    )


def _add_super_resolve(server: MCPServer[Any], service: Service) -> None:
    async def super_resolve(
        image: ImageArgument,
        context: Context[Any, Any],
        scale: Annotated[
            float,
            BeforeValidator(scale_of),
            Field(gt=1, le=16, description="2 or 4, also 1.5 or 3; 8x: 2, then 4."),
        ] = 4,
        expert: ExpertArgument = None,
        strength: StrengthArgument = 1.0,
        region: RegionArgument = None,
        profile: ProfileArgument = "default",
        detail: DetailArgument = None,
        output: OutputArgument = None,
    ) -> CallToolResult:
        options = StepOptions(strength, region, output, scale, detail)
        return await _step(service, context, "super_resolve", image, _enlarging(scale), expert, profile, options)

    add_tool(
        server,
        super_resolve,
        title="Enlarge",
        description=(
            "Enlarge by super-resolution, after removing other defects, which would grow too. To a given size: "
            "restore_to_4k. Up to minutes."
        ),
        annotations=REPEATABLE,
    )


def _enlarging(scale: float) -> Step:
    """The step of super-resolution that gives at least that scale. Raises `RequestError`."""
    if scale == 16:
        return Step(task=Task.SUPER_RESOLUTION, scale=16)
    if scale > 4:
        raise RequestError(f"super_resolve enlarges at most 4 times, not {scale:g}", "for 8x call with 2 and then 4")
    return Step(task=Task.SUPER_RESOLUTION, scale=2 if scale <= 2 else 4)


def _add_run_candidates(server: MCPServer[Any], service: Service) -> None:
    async def run_candidates(
        image: ImageArgument,
        task: TaskArgument,
        context: Context[Any, Any],
        scale: Annotated[
            float | None, BeforeValidator(scale_of), Field(description="2 or 4, for super_resolution.")
        ] = None,
        experts: ExpertsArgument = None,
        region: Annotated[
            str | None, Field(max_length=200, description='What the sheet shows: "x,y,w,h", "face 1".')
        ] = None,
        profile: ProfileArgument = "default",
    ) -> CallToolResult:
        if task is not Task.SUPER_RESOLUTION and scale not in (None, 1):
            raise RequestError(f"{task.value} at scale {scale:g} means nothing", "leave scale out")
        if task is Task.SUPER_RESOLUTION and scale not in (None, 2, 4, 16):
            raise RequestError(f"there are no experts for {scale:g}x", "give 2 or 4")
        step = _enlarging(scale or 4) if task is Task.SUPER_RESOLUTION else Step(task=task)

        def work(token: ProgressToken, status: Status) -> Reply:
            source = service.open(image, token)
            box = regions_of(region, source.image)[0].box if region else None
            judged = judge_candidates(service, source, step, service.profile(profile), experts, token, status)
            lines = [
                f"{step}: {len(judged)} candidates.",
                *(
                    fact(handle or "failed", verdict.expert if handle else describe(verdict))
                    for handle, verdict, _ in judged
                ),
                picture_line(source.picture, "input"),
                fact(
                    "next",
                    "judge the sheet; then select_best with these handles: your choice, or without one the best "
                    "score. analyze_quality tells the score of a handle",
                ),
            ]
            images = {verdict.expert: image for _, verdict, image in judged if image is not None}
            sheet = shown(candidate_sheet(source.image, images, step, MOST_SHEET_BYTES, box))
            return Reply(picture_response(lines, sheet))

        arguments = {"image": image, "step": step, "experts": experts, "region": region, "profile": profile}
        return await run_or_join(service, context, "run_candidates", arguments, lambda _: work)

    add_tool(
        server,
        run_candidates,
        title="Run the candidates of a step",
        description=(
            "Run every expert for one task on the whole picture: one handle each, and a sheet that shows the same "
            "part of all, without scores. To choose by eye, then select_best; the task's own tool is quicker. "
            "Minutes."
        ),
        annotations=REPEATABLE,
    )


def _add_select_best(server: MCPServer[Any], service: Service) -> None:
    async def select_best(
        candidates: Annotated[
            list[HandleArgument],
            BeforeValidator(words),
            Field(min_length=1, max_length=33),
            WithJsonSchema({"type": "string", "description": "Handles of one run_candidates, comma-separated."}),
        ],
        context: Context[Any, Any],
        choice: Annotated[HandleArgument | None, Field(description="Your own choice; else the best score.")] = None,
        strength: StrengthArgument = 1.0,
        region: RegionArgument = None,
        output: OutputArgument = None,
    ) -> CallToolResult:
        def work(token: ProgressToken, status: Status) -> Reply:
            token.check()
            return select_candidate(service, candidates, choice, StepOptions(strength, region, output))

        plan = await anyio.to_thread.run_sync(plan_id, service, InputImage("handle", candidates[0]))
        arguments = {
            "candidates": candidates, "choice": choice, "strength": strength, "region": region, "output": output,
            "mask": mask_image(region), "plan": plan,
        }  # fmt: skip
        return await run_or_join(service, context, "select_best", arguments, lambda _: work)

    add_tool(
        server,
        select_best,
        title="Select the best candidate",
        description="Choose one candidate of run_candidates and save it; its handle is for the next step. Quick.",
        annotations=REPEATABLE,
    )


def _add_finish(server: MCPServer[Any], service: Service) -> None:
    async def finish_restoration(
        image: ImageArgument,
        context: Context[Any, Any],
        width: SideArgument = None,
        height: SideArgument = None,
        stretch: Annotated[bool, Field(description="Allow another aspect.")] = False,
        strip_metadata: StripArgument = False,
        output: OutputArgument = None,
    ) -> CallToolResult:
        def work(token: ProgressToken, status: Status) -> Reply:
            source = service.open(image, token)
            if strip_metadata:
                source = replace(source, image=source.image.without_metadata())
            token.check()
            return finish_image(service, source, width, height, output, stretch=stretch)

        arguments = {
            "image": image,
            "width": width,
            "height": height,
            "stretch": stretch,
            "output": output,
            "strip_metadata": strip_metadata,
            "plan": await anyio.to_thread.run_sync(plan_id, service, image),
        }
        return await run_or_join(service, context, "finish_restoration", arguments, lambda _: work)

    add_tool(
        server,
        finish_restoration,
        title="Finish",
        description=(
            "Last call of a restoration in steps: plain resize to the plan's final size, saved with colour profile "
            "and EXIF. To enlarge with detail use super_resolve. Seconds."
        ),
        annotations=REPEATABLE,
    )


async def _step(
    service: Service,
    context: Context[Any, Any],
    name: str,
    image: InputImage,
    step: Step,
    expert: str | None,
    profile: str,
    options: StepOptions,
    original: InputImage | None = None,
) -> CallToolResult:
    def of(_: str) -> Work[Reply]:
        def work(token: ProgressToken, status: Status) -> Reply:
            wanted = service.profile(profile, detail=options.detail)
            source, first = service.open(image, token), service.open(original, token).image if original else None
            called = f"{source.name}_{name}"
            return take_step(service, source, step, wanted, expert, called, token, status, options, first)

        return work

    arguments = {
        "image": image, "step": step, "expert": expert, "profile": profile, "options": options,
        "mask": mask_image(options.region), "original": original,
        "plan": await anyio.to_thread.run_sync(plan_id, service, image),
    }  # fmt: skip
    return await run_or_join(service, context, name, arguments, of)
