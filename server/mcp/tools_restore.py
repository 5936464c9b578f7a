"""The tool that does the whole job."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult

from agent.events import (
    Asked,
    CandidateJudged,
    Event,
    Listener,
    Perceived,
    Planned,
    Progress,
    RolledBack,
    Started,
    StepFinished,
    Warned,
)
from agent.planning import enlargement
from agent.reasoners.reasoner import Reasoner
from agent.run import Restoration, restore_file
from agent.state import KEEP_INPUT
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from profiles.schema import Profile
from server.mcp.inputs import (
    SUFFIXES,
    DescriptionArgument,
    ExpertRunsArgument,
    ExpertsArgument,
    FindingsArgument,
    FormatArgument,
    ImageArgument,
    InputImage,
    LongSideArgument,
    OrderArgument,
    ProfileArgument,
    ScaleArgument,
    SecondsArgument,
    caller,
)
from server.mcp.jobs import Status
from server.mcp.notices import Notices
from server.mcp.responses import picture_link, report_link, response, thumbnail
from server.mcp.service import Service
from server.mcp.tool_registration import ADDS, add_tool
from server.mcp.view import SHOWN_IN_VIEW
from server.schemas import Picture, RestorationReport


def add_restore_tool(server: MCPServer[Any], service: Service) -> None:
    """Put `restore_to_4k` on the server."""

    async def restore_to_4k(
        image: ImageArgument,
        context: Context[Any, Any],
        profile: ProfileArgument = "default",
        scale: ScaleArgument = None,
        long_side: LongSideArgument = None,
        format: FormatArgument = "png",
        findings: FindingsArgument = None,
        description: DescriptionArgument = None,
        plan: OrderArgument = None,
        experts: ExpertsArgument = None,
        max_seconds: SecondsArgument = None,
        max_expert_runs: ExpertRunsArgument = None,
    ) -> Annotated[CallToolResult, RestorationReport]:
        notices = Notices.here(service.bus)

        def work(token: ProgressToken, status: Status) -> tuple[RestorationReport, Image]:
            wanted = service.profile(
                profile,
                scale=scale,
                long_side=long_side,
                order=plan,
                max_seconds=max_seconds,
                max_expert_runs=max_expert_runs,
                experts=experts,
            )
            reasoner = caller(findings, description)
            return _restore(service, image, wanted, SUFFIXES[format], reasoner, token, _Listener(status, notices))

        report, result = await service.jobs.run(context, "restore_to_4k", work)
        return response(
            report,
            picture_link(report.image, "The restored picture", report.file),
            report_link(report.run),
            thumbnail(result),
        )

    add_tool(
        server,
        restore_to_4k,
        title="Restore to 4K",
        description=(
            "Restore a photo completely, in one call: finds out what is wrong with it (noise, blur, haze, rain, "
            "darkness, JPEG artifacts, low resolution), plans, runs several experts per step, keeps the best result, "
            "rolls back steps that hurt, and enlarges it until its longer side has 4096 pixels. Use this unless the "
            "user wants one particular step or wants to decide between candidates. Your own `findings`, `plan` or "
            "`experts` replace ours where you give them. Takes from seconds to many "
            "minutes, with progress. The result is saved as a file; the reply holds its path, a handle, a small "
            "preview and a link to a report."
        ),
        annotations=ADDS,
        meta=SHOWN_IN_VIEW,
    )


def _restore(
    service: Service,
    given: InputImage,
    profile: Profile,
    suffix: str,
    reasoner: Reasoner | None,
    token: ProgressToken,
    listener: Listener,
) -> tuple[RestorationReport, Image]:
    source = service.open(given)
    factor = enlargement(source.image.long_side, profile)
    service.require_room(source.image.width * factor, source.image.height * factor)
    restoration = restore_file(
        source.file,
        service.new_output(f"{source.name}_restored", suffix),
        profile,
        runs=service.settings.runs,
        image=source.image,
        experts=service.experts,
        reasoner=reasoner,
        token=token,
        listener=listener,
    )
    return _report(service, restoration, source.name)


def _report(service: Service, restoration: Restoration, name: str) -> tuple[RestorationReport, Image]:
    summary = restoration.summary()
    handle = service.workspace.keep_file(restoration.output.read_bytes(), name)
    report = RestorationReport(
        summary=f"Restored to {summary.width}x{summary.height}: {_what_was_done(restoration)}; "
        f"saved as {summary.output}.",
        image=Picture(handle=handle, width=summary.width, height=summary.height),
        file=summary.output,
        run=restoration.state.id,
        plan=summary.plan,
        steps=summary.steps,
        warnings=summary.warnings,
        seconds=summary.seconds,
        model_use=summary.model_use,
    )
    return report, restoration.image or read_image(restoration.output)


def _what_was_done(restoration: Restoration) -> str:
    """The steps that changed the image; and why there are no more, or none."""
    state, nodes = restoration.state, restoration.path_taken()
    same_size = state.plan and (state.plan.final_width, state.plan.final_height) == (nodes[0].width, nodes[0].height)
    nothing = "left as it was" if same_size else "only resized"
    done = ", ".join(f"{node.step} by {node.expert}" for node in nodes if node.expert not in (None, KEEP_INPUT))
    if nodes[-1].remaining_steps:  # only a spent budget leaves something on it
        left = ", ".join(map(str, nodes[-1].remaining_steps))
        return f"{done or nothing}, since the budget was spent before {left}"
    if done:
        return done
    if state.plan and state.plan.steps:
        return f"{nothing}, since no step of the plan made it better"
    return f"{nothing}, since {'no step was needed' if state.profile.plan is None else 'the plan has no step'}"


class _Listener:
    """Hands the events of one run to its caller as progress, and to everybody who has subscribed."""

    def __init__(self, status: Status, notices: Notices) -> None:
        self._status = status
        self._notices = notices
        self._run = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._run = event.run
        _tell(event, self._status)
        self._notices.of_event(self._run, event)


def _tell(event: Event, status: Status) -> None:
    match event:
        case Progress():
            status.progress(event.fraction)
            status.say(event.message)
        case Perceived():
            status.news(event.perception.description)
        case Planned():
            status.news(f"plan: {', '.join(map(str, event.plan.steps)) or 'nothing to do'}")
        case CandidateJudged():
            status.news(f"{event.step}: {event.verdict.expert} {event.verdict.score:.3f}")
        case Asked():
            status.news(f"asked {event.call.model} to {event.call.purpose}: {event.call.seconds:.1f} s")
        case StepFinished():
            status.news(f"{event.node.step} done: {event.node.expert}")
        case RolledBack():
            status.news(event.reason)
        case Warned():
            status.news(f"warning: {event.message}")
        case _:
            pass
