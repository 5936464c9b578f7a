"""Tools for a caller that decides by itself: one per task, and Q-MoE in two halves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import Field

from agent.state import Step
from imaging.image import Image
from imaging.progress import ProgressToken
from server.errors import RequestError
from server.mcp.inputs import (
    SUFFIXES,
    ExpertArgument,
    FormatArgument,
    HandleArgument,
    ImageArgument,
    InputImage,
    ProfileArgument,
    SideArgument,
)
from server.mcp.jobs import Status
from server.mcp.responses import picture_link, response, sheet, thumbnail
from server.mcp.service import Service
from server.mcp.steps import JudgedCandidates, StepReply, finish_image, judge_candidates, select_candidate, take_step
from server.mcp.tool_registration import ADDS, READS, add_tool
from server.schemas import CandidatesReport, FinishReport, StepReport
from toolbox.tasks import Task

HOW = (
    " Without `expert`, Q-MoE runs the promising experts, measures quality, consistency with the input and how much "
    "of the degradation is gone, and keeps the best, or the input where none is better. Give `expert` to have "
    "exactly that one. The result has the size of the input and is saved as a file; a handle for the next "
    "call comes back. Takes seconds, for large photos minutes, with progress."
)


@dataclass(frozen=True, slots=True)
class TaskTool:
    """A tool for one task that keeps the image's size."""

    name: str
    task: Task
    title: str
    purpose: str


TASK_TOOLS = (
    TaskTool(
        "denoise",
        Task.DENOISING,
        "Remove noise",
        "Remove sensor noise and grain from a photo. Not for the blocks of JPEG (remove_jpeg_artifacts).",
    ),
    TaskTool(
        "dehaze",
        Task.DEHAZING,
        "Remove haze",
        "Remove haze, fog or smog: washed-out, grey distance. Not for a photo that is merely pale or out of focus.",
    ),
    TaskTool(
        "derain",
        Task.DERAINING,
        "Remove rain",
        "Remove rain streaks. Not for drops on the lens, nor for snow that shall stay.",
    ),
    TaskTool(
        "brighten",
        Task.BRIGHTENING,
        "Brighten",
        "Brighten an underexposed photo. Not for one that is dark by intention, like a night sky.",
    ),
    TaskTool(
        "deblur_motion",
        Task.MOTION_DEBLURRING,
        "Remove motion blur",
        "Sharpen a photo blurred by a moving camera or object: smeared in one direction. Not for softness that is "
        "alike in all directions (deblur_defocus).",
    ),
    TaskTool(
        "deblur_defocus",
        Task.DEFOCUS_DEBLURRING,
        "Remove defocus blur",
        "Sharpen a photo that is out of focus: soft alike in all directions. Not for a background that is blurred by "
        "intention, nor for smear in one direction (deblur_motion).",
    ),
    TaskTool(
        "remove_jpeg_artifacts",
        Task.JPEG_ARTIFACT_REMOVAL,
        "Remove JPEG artifacts",
        "Remove blocks and ringing of strong JPEG compression. Do this before sharpening or enlarging. Not for grain "
        "(denoise).",
    ),
    TaskTool(
        "restore_old_photo",
        Task.OLD_PHOTO_RESTORATION,
        "Restore an old photo",
        "Fill the scratches of a scanned old photo and put faded or yellowed tones right. Do this first. Not for a "
        "digital photo, whose fine lines it could take for scratches.",
    ),
)


def add_step_tools(server: MCPServer[Any], service: Service) -> None:
    """Put the task tools, `super_resolve`, `restore_faces`, `run_candidates` and `select_best` on the server."""
    for tool in TASK_TOOLS:
        _add_task_tool(server, service, tool)
    _add_restore_faces(server, service)
    _add_super_resolve(server, service)
    _add_run_candidates(server, service)
    _add_select_best(server, service)
    _add_finish(server, service)


def _add_task_tool(server: MCPServer[Any], service: Service, tool: TaskTool) -> None:
    async def run_task(
        image: ImageArgument,
        context: Context[Any, Any],
        expert: ExpertArgument = None,
        profile: ProfileArgument = "default",
    ) -> Annotated[CallToolResult, StepReport]:
        return await _step(service, context, tool.name, image, Step(task=tool.task), expert, profile)

    run_task.__name__ = tool.name
    add_tool(server, run_task, title=tool.title, description=tool.purpose + HOW, annotations=ADDS)


def _add_restore_faces(server: MCPServer[Any], service: Service) -> None:
    async def restore_faces(
        image: ImageArgument,
        context: Context[Any, Any],
        expert: ExpertArgument = None,
        profile: ProfileArgument = "default",
        original: Annotated[
            InputImage | None,
            Field(
                description="The photo before any step, in any size: faces are looked for there too, and must stay "
                "who they are there. null: `image` itself.",
                examples=[{"path": "holiday/beach.jpg"}],
            ),
        ] = None,
    ) -> Annotated[CallToolResult, StepReport]:
        step = Step(task=Task.FACE_RESTORATION)
        return await _step(service, context, "restore_faces", image, step, expert, profile, original)

    add_tool(
        server,
        restore_faces,
        title="Restore faces",
        description=(
            "Find the faces, restore each one by itself and paste it back where it is still the same person; the "
            "rest of the picture is not touched. Do this last, and after every enlargement. Not for photos without "
            "faces, nor for faces of a few pixels." + HOW
        ),
        annotations=ADDS,
    )


def _add_super_resolve(server: MCPServer[Any], service: Service) -> None:
    async def super_resolve(
        image: ImageArgument,
        context: Context[Any, Any],
        scale: Annotated[Literal[2, 4, 16], Field(description="How many times as wide and high.", examples=[4])] = 4,
        expert: ExpertArgument = None,
        profile: ProfileArgument = "default",
    ) -> Annotated[CallToolResult, StepReport]:
        step = Step(task=Task.SUPER_RESOLUTION, scale=scale)
        return await _step(service, context, "super_resolve", image, step, expert, profile)

    add_tool(
        server,
        super_resolve,
        title="Enlarge",
        description=(
            "Enlarge a photo 2 or 4 times by super-resolution. Remove its other degradations first: they would be "
            "enlarged too. For 8x call with 2 and then 4, for 16x with 4 twice: only diffusion models, which must be "
            "installed, do 16 at once. Without `expert`, Q-MoE runs the "
            "promising experts and keeps the best. To get to 4K in one call use restore_to_4k instead. Takes "
            "seconds, for large photos minutes, with progress."
        ),
        annotations=ADDS,
    )


def _add_run_candidates(server: MCPServer[Any], service: Service) -> None:
    async def run_candidates(
        image: ImageArgument,
        task: Annotated[Task, Field(description="The task whose experts shall run.", examples=["denoising"])],
        context: Context[Any, Any],
        scale: Annotated[
            Literal[1, 2, 4, 16],
            Field(description="2, 4 or 16 for super_resolution, 1 for every other task.", examples=[1]),
        ] = 1,
        experts: Annotated[
            list[str] | None,
            Field(
                min_length=1,
                max_length=32,
                description="Only these experts; null: all that the profile allows.",
                examples=[["restore4k_denoise", "nlm_denoise"]],
            ),
        ] = None,
        profile: ProfileArgument = "default",
        exhaustive: Annotated[
            bool,
            Field(
                description="Run every expert on the whole of a large image, instead of on crops first.",
                examples=[False],
            ),
        ] = False,
    ) -> Annotated[CallToolResult, CandidatesReport]:
        def work(token: ProgressToken, status: Status) -> JudgedCandidates:
            if (task is Task.SUPER_RESOLUTION) == (scale == 1):
                raise RequestError(
                    f"{task.value} at scale {scale} means nothing", "2, 4 or 16 is for super_resolution alone"
                )
            step = Step(task=task, scale=scale)
            wanted = service.profile(profile)
            wanted = wanted.model_copy(update={"exhaustive": exhaustive or wanted.exhaustive})
            return judge_candidates(service, service.open(image), step, wanted, experts, token, status)

        judged = await service.jobs.run(context, f"run_candidates {task.value}", work)
        labelled = {f"{name} {score:.3f}": image for name, score, image in judged.shown}
        return response(judged.report, sheet(judged.before, labelled, Step(task=task, scale=scale)))

    add_tool(
        server,
        run_candidates,
        title="Run the candidates of a step",
        description=(
            "First half of Q-MoE, for when you want to judge by yourself: run several experts for one task and get "
            "every candidate with a handle and its scores, and one sheet that shows the same part of the input and "
            "of every candidate (the input itself is one, keep_input). Nothing is saved for the user yet: pass the "
            "handles to select_best, with your choice. Takes longer than the tool of the task, since every expert "
            "runs: seconds to minutes, with progress. Not needed where the measured best is good enough for you."
        ),
        annotations=READS,
    )


def _add_select_best(server: MCPServer[Any], service: Service) -> None:
    async def select_best(
        candidates: Annotated[
            list[HandleArgument],
            Field(
                min_length=1,
                max_length=33,
                description="Handles from one run_candidates result.",
                examples=[["img_0123456789ab", "img_ba9876543210"]],
            ),
        ],
        context: Context[Any, Any],
        choice: Annotated[
            HandleArgument | None,
            Field(
                description="Your own choice among them; null: the best score wins.", examples=["img_ba9876543210"]
            ),
        ] = None,
    ) -> Annotated[CallToolResult, StepReport]:
        def work(token: ProgressToken, status: Status) -> StepReply:
            token.check()
            return select_candidate(service, candidates, choice)

        return _step_answer(await service.jobs.run(context, "select_best", work))

    add_tool(
        server,
        select_best,
        title="Select the best candidate",
        description=(
            "Second half of Q-MoE: take the candidates of run_candidates, settle on the one with the best score or "
            "on your own `choice`, save it as a file, and get its handle for the next step, with the reasons. Quick. "
            "Only for handles of one and the same run_candidates call; to compare other images use compare_images."
        ),
        annotations=ADDS,
    )


def _add_finish(server: MCPServer[Any], service: Service) -> None:
    async def finish_restoration(
        image: ImageArgument,
        width: SideArgument,
        height: SideArgument,
        context: Context[Any, Any],
        format: FormatArgument = "png",
    ) -> Annotated[CallToolResult, FinishReport]:
        def work(token: ProgressToken, status: Status) -> tuple[FinishReport, Image]:
            source = service.open(image)
            token.check()
            return finish_image(service, source, width, height, SUFFIXES[format])

        report, result = await service.jobs.run(context, "finish_restoration", work)
        return response(report, picture_link(report.image, "The finished picture", report.file), thumbnail(result))

    add_tool(
        server,
        finish_restoration,
        title="Finish",
        description=(
            "The last call of a restoration that you have done step by step: bring the image to the plan's final "
            "size by plain resizing, and save it with the bit depth, colour profile and EXIF of the photo. To "
            "enlarge with new detail use super_resolve before this. Takes seconds."
        ),
        annotations=ADDS,
    )


async def _step(
    service: Service,
    context: Context[Any, Any],
    name: str,
    image: InputImage,
    step: Step,
    expert: str | None,
    profile: str,
    original: InputImage | None = None,
) -> CallToolResult:
    def work(token: ProgressToken, status: Status) -> StepReply:
        wanted = service.profile(profile)
        source, first = service.open(image), service.open(original).image if original else None
        return take_step(service, source, step, wanted, expert, f"{source.name}_{name}", token, status, first)

    return _step_answer(await service.jobs.run(context, name, work))


def _step_answer(result: StepReply) -> CallToolResult:
    report = result.report
    return response(report, picture_link(report.image, "The result", report.file), thumbnail(result.image))
