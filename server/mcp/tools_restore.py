"""The tool for a whole restoration: start, resume or look up a run of the agent, and reply with its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import anyio.lowlevel
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult

from agent import events
from agent.finishing import Finishing
from agent.planning import result_sizes
from agent.run import Restoration, restore_file, resume_run
from imaging.progress import ProgressToken
from imaging.reading import read_image
from server.mcp import inputs
from server.mcp.inputs import InputImage
from server.mcp.jobs import Status
from server.mcp.previews import before_and_after, centred
from server.mcp.resources import notify_of
from server.mcp.restoration_text import found_line, plan_line, progress_lines, restoration_response, step_line
from server.mcp.run_calls import run_or_join
from server.mcp.runs import Reply
from server.mcp.service import Service, Source
from server.mcp.tool_registration import REPEATABLE, tool
from server.mcp.view import SHOWN_IN_VIEW
from server.schemas import Picture
from server.target_size import Extent, TargetSize


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """The arguments of a restoration, apart from its image."""

    size: inputs.SizeArgument = None
    profile: inputs.ProfileArgument = "default"
    strength: inputs.StrengthArgument = 1.0
    region: inputs.RegionArgument = None
    output: inputs.OutputArgument = None
    findings: inputs.FindingsArgument = None
    description: inputs.DescriptionArgument = None
    plan: inputs.OrderArgument = None
    experts: inputs.ExpertsArgument = None
    max_seconds: inputs.SecondsArgument = None
    max_expert_runs: inputs.ExpertRunsArgument = None
    detail: inputs.DetailArgument = None
    strip_metadata: inputs.StripArgument = False


@tool("Restore to 4K", REPEATABLE, SHOWN_IN_VIEW)
async def restore_to_4k(
    service: Service,
    context: Context[Any, Any],
    image: inputs.ImageArgument,
    options: RestoreOptions,
    wait_seconds: inputs.WaitArgument = None,
) -> CallToolResult:
    """Restore and enlarge one photo in one call: measures, plans, runs several experts per step, keeps the
    best result or the input. Use it unless the user wants one particular step. Seconds
    to many minutes; after wait_seconds the reply has a run id for get_run, and the same call joins it."""
    loop = anyio.lowlevel.current_token()

    def work(run: str, token: ProgressToken, status: Status) -> Reply:
        def listener(event: events.Event) -> None:
            _report_event(status, event)
            notify_of(event, run, service.bus, loop)

        return _restored(service, image, options, run, token, status, listener)

    arguments = {"image": image, "options": options, "mask": inputs.mask_image(options.region)}
    return await run_or_join(service, context, "restore_to_4k", arguments, work, wait_seconds)


def _restored(
    service: Service,
    image: InputImage,
    options: RestoreOptions,
    run: str,
    token: ProgressToken,
    status: Status,
    listener: events.Listener,
) -> Reply:
    """Begin the run, or continue it if it was begun by an earlier call."""
    folder = service.settings.runs / run
    if not (folder / "state.json").is_file():
        return _reply(service, *_begin(service, image, options, run, token, listener), options.region)
    for line in filter(None, progress_lines(service.run_state(run))):
        status.milestone(line)
    source = service.open(image, token)
    reasoner = inputs.caller(options.findings, options.description)
    output = None
    if not service.may_write(service.run_state(run)):
        output = service.new_output(f"{source.name}_restored", options.output)
    resumed = resume_run(
        folder, output=output, experts=service.experts, reasoner=reasoner, token=token, listener=listener
    )
    return _reply(service, resumed, sized(source, options.size)[0], options.region)


def _begin(
    service: Service,
    image: InputImage,
    options: RestoreOptions,
    run: str,
    token: ProgressToken,
    listener: events.Listener,
) -> tuple[Restoration, Source]:
    profile = service.profile(  # raises before the image is read
        options.profile,
        order=options.plan,
        max_seconds=options.max_seconds,
        max_expert_runs=options.max_expert_runs,
        experts=options.experts,
        detail=options.detail,
    )
    reasoner = inputs.caller(options.findings, options.description)
    source, extent = sized(service.open(image, token), options.size)
    profile = extent.apply_to(profile, source.image.long_side)
    sizes = result_sizes(source.image.width, source.image.height, profile)
    for width, height in (*sizes, *([extent.final] if extent.final else [])):
        service.require_room(width, height)
    mask = service.mask(options.region)
    output = service.new_output(f"{source.name}_restored", options.output)
    restored = restore_file(
        source.file,
        output,
        profile,
        runs=service.settings.runs,
        name=run,
        image=source.image,
        experts=service.experts,
        reasoner=reasoner,
        token=token,
        listener=listener,
        finishing=Finishing(options.strength, mask, extent.final, options.strip_metadata),
    )
    return restored, source


def sized(source: Source, size: TargetSize | None) -> tuple[Source, Extent]:
    """The source, cropped to the aspect ratio of `size` if it asks for that, and the size of the result."""
    extent = size.of(source.image.width, source.image.height) if size else Extent()
    if extent.crop and extent.final:
        source = replace(source, image=centred(source.image, *extent.final))
    return source, extent


def _reply(service: Service, restored: Restoration, source: Source, region: str | None) -> Reply:
    """The facts of a restoration, with pictures before and after and a detail."""
    image = restored.image or read_image(restored.output)
    handle = service.workspace.store_file(restored.output.read_bytes(), source.name)
    picture = Picture(handle=handle, width=image.width, height=image.height)
    seen = before_and_after(source.image, image)
    return Reply(restoration_response(restored, picture, source.picture, seen, region), str(restored.output))


def _report_event(status: Status, event: events.Event) -> None:
    """Pass an event of a run to its caller as progress."""
    match event:
        case events.Progress():
            status.fraction, status.message = event.fraction, event.message
        case events.Perceived():
            status.milestone(found_line(event.perception))
        case events.Planned():
            status.milestone(plan_line(event.plan))
        case events.CandidateJudged():
            status.notify(f"{event.step}: {event.verdict.expert} {event.verdict.score:.3f}")
        case events.Asked():
            status.notify(f"asked {event.call.model} to {event.call.purpose}: {event.call.seconds:.1f} s")
        case events.StepFinished():
            status.milestone(step_line(event.node))
        case events.RolledBack():
            status.milestone(f"rolled back: {event.reason}")
        case events.Warned():
            status.milestone(f"warning: {event.message}")
