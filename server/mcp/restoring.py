"""The work of `restore_to_4k`: start, resume or look up a run of the agent, and reply with its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from mcp.types import ContentBlock

from agent.events import (
    Asked,
    CandidateJudged,
    Event,
    Listener,
    Perceived,
    Planned,
    Progress,
    RolledBack,
    StepFinished,
    Warned,
)
from agent.finishing import Finishing
from agent.planning import result_sizes
from agent.reasoners.replies import Rating
from agent.run import Restoration, restore_file, resume_run
from imaging.progress import ProgressToken
from imaging.reading import read_image
from profiles.schema import Profile
from server.mcp.inputs import InputImage, caller
from server.mcp.jobs import Status, Work
from server.mcp.masks import mask_for
from server.mcp.notices import Notices
from server.mcp.previews import before_and_after, centred
from server.mcp.responses import picture_link, picture_response, report_link
from server.mcp.restoration_text import facts_of, found_line, plan_line, progress_lines, step_line, view_report
from server.mcp.run_calls import RunWork
from server.mcp.runs import Reply
from server.mcp.service import Service, Source
from server.schemas import Picture
from server.target_size import Extent, TargetSize
from toolbox.tasks import Task


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """The arguments of a restoration."""

    size: TargetSize | None
    profile: str
    strength: float
    region: str | None
    output: str | None
    findings: list[Rating] | None
    description: str | None
    plan: list[Task] | None
    experts: list[str] | None
    max_seconds: float | None
    max_expert_runs: int | None
    detail: float | None
    strip_metadata: bool

    def profile_for(self, service: Service) -> Profile:
        """The profile with these options, except for the size. Raises `RestoreError`."""
        return service.profile(
            self.profile,
            order=self.plan,
            max_seconds=self.max_seconds,
            max_expert_runs=self.max_expert_runs,
            experts=self.experts,
            detail=self.detail,
        )


def restoration(service: Service, image: InputImage, options: RestoreOptions, notices: Notices) -> RunWork:
    """A function that returns the work of the run with a given identifier."""

    def of(run: str) -> Work[Reply]:
        def work(token: ProgressToken, status: Status) -> Reply:
            listener = partial(_report_event, run, status, notices)
            folder = service.settings.runs / run
            if not (folder / "state.json").is_file():
                return _reply(service, *_begin(service, image, options, run, token, listener), options.region)
            for line in filter(None, progress_lines(service.run_state(run))):
                status.milestone(line)
            source = service.open(image, token)
            reasoner = caller(options.findings, options.description)
            output = None
            if not service.may_write(service.run_state(run)):
                output = service.new_output(f"{source.name}_restored", options.output)
            resumed = resume_run(
                folder, output=output, experts=service.experts, reasoner=reasoner, token=token, listener=listener
            )
            return _reply(service, resumed, sized(source, options.size)[0], options.region)

        return work

    return of


def _begin(
    service: Service, image: InputImage, options: RestoreOptions, run: str, token: ProgressToken, listener: Listener
) -> tuple[Restoration, Source]:
    profile = options.profile_for(service)  # raises before the image is read
    reasoner = caller(options.findings, options.description)
    source, extent = sized(service.open(image, token), options.size)
    profile = extent.apply_to(profile, source.image.long_side)
    sizes = result_sizes(source.image.width, source.image.height, profile)
    for width, height in (*sizes, *([extent.final] if extent.final else [])):
        service.require_room(width, height)
    mask = mask_for(service, options.region)
    output = service.new_output(f"{source.name}_restored", options.output)
    restored = restore_file(
        source.file,
        output,
        profile,
        runs=service.settings.runs,
        name=run,
        image=source.image,
        strip_metadata=options.strip_metadata,
        experts=service.experts,
        reasoner=reasoner,
        token=token,
        listener=listener,
        finishing=Finishing(options.strength, mask, extent.final),
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
    handle = service.workspace.keep_file(restored.output.read_bytes(), source.name)
    picture = Picture(handle=handle, width=image.width, height=image.height)
    file = str(restored.output)
    seen = before_and_after(source.image, image)
    lines = [*facts_of(restored, picture, source.picture, region), seen.line]
    blocks: tuple[ContentBlock, ...] = (
        *seen.pictures,
        picture_link(picture, "The restored picture", file),
        report_link(restored.state.id),
    )
    meta = {"restore4k/report": view_report(restored, picture, source.picture)}
    return Reply(picture_response(lines, *blocks, meta=meta), file)


def _report_event(run: str, status: Status, notices: Notices, event: Event) -> None:
    """Pass an event of a run to its caller as progress, and to subscribers."""
    match event:
        case Progress():
            status.progress(event.fraction)
            status.say(event.message)
        case Perceived():
            status.milestone(found_line(event.perception))
        case Planned():
            status.milestone(plan_line(event.plan))
        case CandidateJudged():
            status.notify(f"{event.step}: {event.verdict.expert} {event.verdict.score:.3f}")
        case Asked():
            status.notify(f"asked {event.call.model} to {event.call.purpose}: {event.call.seconds:.1f} s")
        case StepFinished():
            status.milestone(step_line(event.node))
        case RolledBack():
            status.milestone(f"rolled back: {event.reason}")
        case Warned():
            status.milestone(f"warning: {event.message}")
        case _:
            pass
    notices.of_event(run, event)
