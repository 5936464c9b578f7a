"""Tools for callers that plan themselves: one per task, and Q-MoE split into running and selecting."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import anyio.to_thread
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import BeforeValidator, Field

from agent.reasoners.sheet import candidate_sheet
from agent.regions import regions_of
from agent.state import Step
from imaging.progress import ProgressToken
from server.errors import RequestError
from server.mcp import inputs
from server.mcp.guides import plan_id
from server.mcp.inputs import InputImage
from server.mcp.jobs import Status
from server.mcp.responses import fact, picture_line, picture_response, shown
from server.mcp.run_calls import run_or_join
from server.mcp.runs import Reply
from server.mcp.service import Service
from server.mcp.steps import StepOptions, finish_image, judge_candidates, select_candidate, take_step
from server.mcp.tool_registration import REPEATABLE, ServedTool, tool
from server.mcp.verdict_text import describe
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


def _task_tool(name: str, title: str, purpose: str) -> ServedTool:
    async def run_task(
        service: Service,
        context: Context[Any, Any],
        image: inputs.ImageArgument,
        expert: inputs.ExpertArgument = None,
        strength: inputs.StrengthArgument = 1.0,
        region: inputs.RegionArgument = None,
        profile: inputs.ProfileArgument = "default",
        output: inputs.OutputArgument = None,
    ) -> CallToolResult:
        options = StepOptions(expert, strength, region, profile, output)
        return await _step(service, context, name, image, Step(task=inputs.TASK_TOOL_NAMES[name]), options)

    run_task.__name__ = name
    return ServedTool(run_task, title, f"{purpose} Up to minutes.", REPEATABLE)


@tool("Restore faces", REPEATABLE)
async def restore_faces(
    service: Service,
    context: Context[Any, Any],
    image: inputs.ImageArgument,
    expert: inputs.ExpertArgument = None,
    strength: inputs.StrengthArgument = 1.0,
    region: inputs.RegionArgument = None,
    profile: inputs.ProfileArgument = "default",
    output: inputs.OutputArgument = None,
    original: Annotated[inputs.OptionalImage, inputs.as_text("The photo before any step.")] = None,
) -> CallToolResult:
    """Restore faces, keeping each person's identity, and change nothing else; last, after enlarging.
    Up to minutes."""
    options = StepOptions(expert, strength, region, profile, output, original=original)
    return await _step(service, context, "restore_faces", image, Step(task=Task.FACE_RESTORATION), options)


@tool("Enlarge", REPEATABLE)
async def super_resolve(
    service: Service,
    context: Context[Any, Any],
    image: inputs.ImageArgument,
    scale: Annotated[
        float,
        BeforeValidator(inputs.scale_of),
        Field(gt=1, le=16, description="2 or 4, also 1.5 or 3; 8x: 2, then 4."),
    ] = 4,
    expert: inputs.ExpertArgument = None,
    strength: inputs.StrengthArgument = 1.0,
    region: inputs.RegionArgument = None,
    profile: inputs.ProfileArgument = "default",
    detail: inputs.DetailArgument = None,
    output: inputs.OutputArgument = None,
) -> CallToolResult:
    """Enlarge by super-resolution, after removing other defects, which would grow too. To a given size:
    restore_to_4k. Up to minutes."""
    options = StepOptions(expert, strength, region, profile, output, scale, detail)
    return await _step(service, context, "super_resolve", image, _enlarging(scale), options)


async def _step(
    service: Service, context: Context[Any, Any], name: str, image: InputImage, step: Step, options: StepOptions
) -> CallToolResult:
    def work(run: str, token: ProgressToken, status: Status) -> Reply:
        return take_step(service, image, step, name, options, token, status)

    arguments = {
        "image": image, "step": step, "options": options, "mask": inputs.mask_image(options.region),
        "plan": await anyio.to_thread.run_sync(plan_id, service, image),
    }  # fmt: skip
    return await run_or_join(service, context, name, arguments, work)


def _enlarging(scale: float) -> Step:
    """The step of super-resolution that gives at least that scale. Raises `RequestError`."""
    if scale == 16:
        return Step(task=Task.SUPER_RESOLUTION, scale=16)
    if scale > 4:
        raise RequestError(f"super_resolve enlarges at most 4 times, not {scale:g}", "for 8x call with 2 and then 4")
    return Step(task=Task.SUPER_RESOLUTION, scale=2 if scale <= 2 else 4)


@tool("Run the candidates of a step", REPEATABLE)
async def run_candidates(
    service: Service,
    context: Context[Any, Any],
    image: inputs.ImageArgument,
    task: inputs.TaskArgument,
    scale: Annotated[
        float | None, BeforeValidator(inputs.scale_of), Field(description="2 or 4, for super_resolution.")
    ] = None,
    experts: inputs.ExpertsArgument = None,
    region: Annotated[
        str | None, Field(max_length=200, description='What the sheet shows: "x,y,w,h", "face 1".')
    ] = None,
    profile: inputs.ProfileArgument = "default",
) -> CallToolResult:
    """Run every expert for one task on the whole picture: one handle each, and a sheet that shows the same
    part of all, without scores. To choose by eye, then select_best; the task's own tool is quicker.
    Minutes."""
    if task is not Task.SUPER_RESOLUTION and scale not in (None, 1):
        raise RequestError(f"{task.value} at scale {scale:g} means nothing", "leave scale out")
    if task is Task.SUPER_RESOLUTION and scale not in (None, 2, 4, 16):
        raise RequestError(f"there are no experts for {scale:g}x", "give 2 or 4")
    step = _enlarging(scale or 4) if task is Task.SUPER_RESOLUTION else Step(task=task)

    def work(run: str, token: ProgressToken, status: Status) -> Reply:
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
    return await run_or_join(service, context, "run_candidates", arguments, work)


@tool("Select the best candidate", REPEATABLE)
async def select_best(
    service: Service,
    context: Context[Any, Any],
    candidates: Annotated[
        list[inputs.HandleArgument],
        BeforeValidator(inputs.words),
        Field(min_length=1, max_length=33),
        inputs.as_text("Handles of one run_candidates, comma-separated."),
    ],
    choice: Annotated[
        inputs.HandleArgument | None, Field(description="Your own choice; else the best score.")
    ] = None,
    strength: inputs.StrengthArgument = 1.0,
    region: inputs.RegionArgument = None,
    output: inputs.OutputArgument = None,
) -> CallToolResult:
    """Choose one candidate of run_candidates and save it; its handle is for the next step. Quick."""

    options = StepOptions(strength=strength, region=region, output=output)

    def work(run: str, token: ProgressToken, status: Status) -> Reply:
        token.check()
        return select_candidate(service, candidates, choice, options, token)

    arguments = {
        "candidates": candidates, "choice": choice, "options": options, "mask": inputs.mask_image(region),
        "plan": await anyio.to_thread.run_sync(plan_id, service, InputImage("handle", candidates[0])),
    }  # fmt: skip
    return await run_or_join(service, context, "select_best", arguments, work)


@tool("Finish", REPEATABLE)
async def finish_restoration(
    service: Service,
    context: Context[Any, Any],
    image: inputs.ImageArgument,
    width: SideArgument = None,
    height: SideArgument = None,
    stretch: Annotated[bool, Field(description="Allow another aspect.")] = False,
    strip_metadata: inputs.StripArgument = False,
    output: inputs.OutputArgument = None,
) -> CallToolResult:
    """Last call of a restoration in steps: plain resize to the plan's final size, saved with colour profile
    and EXIF. To enlarge with detail use super_resolve. Seconds."""

    def work(run: str, token: ProgressToken, status: Status) -> Reply:
        source = service.open(image, token)
        if strip_metadata:
            source = replace(source, image=source.image.without_metadata())
        token.check()
        return finish_image(service, source, width, height, output, token, stretch=stretch)

    arguments = {
        "image": image, "width": width, "height": height, "stretch": stretch, "output": output,
        "strip_metadata": strip_metadata, "plan": await anyio.to_thread.run_sync(plan_id, service, image),
    }  # fmt: skip
    return await run_or_join(service, context, "finish_restoration", arguments, work)


SAME_SIZE_TOOLS = tuple(_task_tool(name, title, purpose) for name, (title, purpose) in TASK_TOOLS.items())
STEP_TOOLS = (*SAME_SIZE_TOOLS, restore_faces, super_resolve, run_candidates, select_best, finish_restoration)
