"""The tool for a whole restoration: start, resume or look up a run of the agent, and reply with its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from agent import events
from agent.finishing import Finishing
from agent.planning import result_sizes
from agent.run import Restoration, restore_file, resume_run
from imaging.reading import read_image
from server.mcp import inputs
from server.mcp.inputs import InputImage
from server.mcp.jobs import Status
from server.mcp.previews import before_and_after, centred
from server.mcp.resources import notify_of
from server.mcp.restoration_text import found_line, plan_line, progress_lines, restoration_response, step_line
from server.mcp.run_calls import RunTool
from server.mcp.runs import Reply, Run
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


@tool("Restore to 4K", REPEATABLE, SHOWN_IN_VIEW, partial(RunTool, waits=True))
def restore_to_4k(service: Service, run: Run, image: inputs.ImageArgument, options: RestoreOptions) -> Reply:
    """Restore and enlarge one photo in one call: measures, plans, runs several experts per step, keeps the
    best result or the input. Use it unless the user wants one particular step. Seconds
    to many minutes; after wait_seconds the reply has a run id for get_run, and the same call joins it."""

    def listener(event: events.Event) -> None:
        _report_event(run.status, event)
        notify_of(event, run.id, service.bus, run.loop)

    is_begun = (service.settings.runs / run.id / "state.json").is_file()  # by an earlier call
    continued = _resumed if is_begun else _begun
    restored, source = continued(service, image, options, run, listener)
    result = restored.image or read_image(restored.output)
    handle = service.workspace.store_file(restored.output.read_bytes(), source.name)
    picture = Picture(handle=handle, width=result.width, height=result.height)
    seen = before_and_after(source.image, result)
    response = restoration_response(restored, picture, source.picture, seen, options.region)
    return Reply(response, str(restored.output))


def _resumed(
    service: Service, image: InputImage, options: RestoreOptions, run: Run, listener: events.Listener
) -> tuple[Restoration, Source]:
    state = service.run_state(run.id)
    for line in filter(None, progress_lines(state)):
        run.status.milestone(line)
    source = service.open(image, run.token)
    resumed = resume_run(
        service.settings.runs / run.id,
        output=None if service.may_write(state) else service.new_output(f"{source.name}_restored", options.output),
        experts=service.experts,
        reasoner=inputs.caller(options.findings, options.description),
        token=run.token,
        listener=listener,
    )
    return resumed, sized(source, options.size)[0]


def _begun(
    service: Service, image: InputImage, options: RestoreOptions, run: Run, listener: events.Listener
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
    source, extent = sized(service.open(image, run.token), options.size)
    profile = extent.apply_to(profile, source.image.long_side)
    sizes = result_sizes(source.image.width, source.image.height, profile)
    for width, height in (*sizes, *([extent.final] if extent.final else [])):
        service.require_room(width, height)
    mask = service.mask(options.region)
    restored = restore_file(
        source.file,
        service.new_output(f"{source.name}_restored", options.output),
        profile,
        runs=service.settings.runs,
        name=run.id,
        image=source.image,
        experts=service.experts,
        reasoner=reasoner,
        token=run.token,
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
