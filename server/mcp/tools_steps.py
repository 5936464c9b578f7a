"""Tools for callers that plan themselves: one per task, and Q-MoE split into running and selecting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from agent.reasoners.sheet import candidate_sheet
from agent.regions import regions_of
from agent.state import Step
from server.errors import RequestError
from server.mcp import inputs
from server.mcp.guides import plan_id
from server.mcp.inputs import InputImage
from server.mcp.responses import fact, picture_line, picture_response, shown
from server.mcp.run_calls import RunTool, mask_of
from server.mcp.runs import Reply, Run
from server.mcp.service import Service
from server.mcp.steps import StepOptions, finish_image, judge_candidates, select_candidate, step_of, take_step
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


def _of_a_step(service: Service, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The plan to which the step belongs, beside its mask."""
    image = arguments.get("image") or InputImage("handle", arguments["candidates"][0])
    return {**mask_of(service, arguments), "plan": plan_id(service, image)}


def _step_tool(name: str, title: str, purpose: str, **unused: Any) -> ServedTool:
    """The tool of a task. `unused`: values of the options that it does not have."""
    given = {"tool": name, **unused}

    def depends_on(service: Service, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {**_of_a_step(service, arguments), "step": step_of(name, arguments.get("scale", 1))}

    return RunTool(
        name, take_step, title, f"{purpose} Up to minutes.", REPEATABLE, given=given, depends_on=depends_on
    )


def _candidates_step(_: Service, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The step of a call of `run_candidates`. Raises `RequestError`."""
    task, scale = arguments["task"], arguments.get("scale")
    if task is not Task.SUPER_RESOLUTION and scale not in (None, 1):
        raise RequestError(f"{task.value} at scale {scale:g} means nothing", "leave scale out")
    if task is Task.SUPER_RESOLUTION and scale not in (None, 2, 4, 16):
        raise RequestError(f"there are no experts for {scale:g}x", "give 2 or 4")
    return {"step": Step(task=task, scale=(scale or 4) if task is Task.SUPER_RESOLUTION else 1)}


@tool("Run the candidates of a step", REPEATABLE, kind=partial(RunTool, depends_on=_candidates_step))
def run_candidates(
    service: Service,
    run: Run,
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
) -> Reply:
    """Run every expert for one task on the whole picture: one handle each, and a sheet that shows the same
    part of all, without scores. To choose by eye, then select_best; the task's own tool is quicker.
    Minutes."""
    step: Step = _candidates_step(service, {"task": task, "scale": scale})["step"]
    source = service.open(image, run.token)
    box = regions_of(region, source.image)[0].box if region else None
    judged = judge_candidates(service, source, step, service.profile(profile), experts, run)
    lines = [
        f"{step}: {len(judged)} candidates.",
        *(fact(handle or "failed", verdict.expert if handle else describe(verdict)) for handle, verdict, _ in judged),
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


@tool("Select the best candidate", REPEATABLE, kind=partial(RunTool, depends_on=_of_a_step))
def select_best(
    service: Service,
    run: Run,
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
) -> Reply:
    """Choose one candidate of run_candidates and save it; its handle is for the next step. Quick."""
    run.token.check()
    options = StepOptions(strength=strength, region=region, output=output)
    return select_candidate(service, candidates, choice, options, run.token)


@tool("Finish", REPEATABLE, kind=partial(RunTool, depends_on=_of_a_step))
def finish_restoration(
    service: Service,
    run: Run,
    image: inputs.ImageArgument,
    width: SideArgument = None,
    height: SideArgument = None,
    stretch: Annotated[bool, Field(description="Allow another aspect.")] = False,
    strip_metadata: inputs.StripArgument = False,
    output: inputs.OutputArgument = None,
) -> Reply:
    """Last call of a restoration in steps: plain resize to the plan's final size, saved with colour profile
    and EXIF. To enlarge with detail use super_resolve. Seconds."""
    source = service.open(image, run.token)
    if strip_metadata:
        source = replace(source, image=source.image.without_metadata())
    run.token.check()
    return finish_image(service, source, width, height, output, run.token, stretch=stretch)


SAME_SIZE: dict[str, Any] = {"scale": 1, "detail": None}
STEP_TOOLS = (
    *(_step_tool(name, *texts, **SAME_SIZE, original=None) for name, texts in TASK_TOOLS.items()),
    _step_tool(
        "restore_faces",
        "Restore faces",
        "Restore faces, keeping each person's identity, and change nothing else; last, after enlarging.",
        **SAME_SIZE,
    ),
    _step_tool(
        "super_resolve",
        "Enlarge",
        "Enlarge by super-resolution, after removing other defects, which would grow too. To a given size: "
        "restore_to_4k.",
        original=None,
    ),
    run_candidates,
    select_best,
    finish_restoration,
)
