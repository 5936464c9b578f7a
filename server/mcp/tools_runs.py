"""Tools for runs that take longer than their call."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import BeforeValidator, Field

from agent.run import Restoration
from imaging.errors import ImageError, RestoreError
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import Limits, read_image
from server.mcp.inputs import WaitArgument
from server.mcp.previews import BeforeAndAfter, before_and_after
from server.mcp.resources import run_ids
from server.mcp.responses import data_response, fact, picture_link, picture_response, report_link
from server.mcp.restoration_text import facts_of, progress_lines, view_report
from server.mcp.runs import RunUnderWay
from server.mcp.service import Service
from server.mcp.tool_registration import READS, REPEATABLE, add_tool
from server.schemas import Picture

MOST_LISTED = 20
CANCELLED_NEXT = "the same call continues from the last finished step"


def _identifier(given: object) -> object:
    """The identifier of a run, without run:// and any path after it."""
    return given.strip().removeprefix("run://").partition("/")[0] if isinstance(given, str) else given


RunArgument = Annotated[str, BeforeValidator(_identifier), Field(max_length=100)]


def add_run_tools(server: MCPServer[Any], service: Service) -> None:
    """Register `get_run`, `cancel_run` and `list_runs`."""

    async def get_run(
        run: RunArgument, context: Context[Any, Any], wait_seconds: WaitArgument = None
    ) -> CallToolResult:
        known = service.runs.find(run)
        if known is None:
            return await service.jobs.run(context, "get_run", lambda token, status: _from_disk(service, run, token))
        return await service.runs.wait(context, known, service.patience(wait_seconds)) or RunUnderWay.of(known)

    async def cancel_run(run: RunArgument) -> CallToolResult:
        known = service.runs.find(run)
        if known is None:
            state = await anyio.to_thread.run_sync(service.run_state, run)
            ended = "finished" if state.finished else "not running"
            return picture_response([fact("state", ended), fact("run", run)])
        if not known.over.is_set():
            await service.runs.cancel(known)
        return picture_response(
            [
                fact("state", known.state),
                fact("run", run),
                fact("next", CANCELLED_NEXT if known.state == "cancelled" else "get_run gives its result"),
            ]
        )

    async def list_runs() -> CallToolResult:
        return data_response({"runs": await anyio.to_thread.run_sync(_listed, service)})

    add_tool(
        server,
        get_run,
        title="Get a run",
        description=(
            "Wait for a run that did not end within its call: its result, or state, findings and finished steps. "
            "Repeat until it is done; a failed run answers with its error."
        ),
        annotations=READS,
    )
    add_tool(
        server,
        cancel_run,
        title="Cancel a run",
        description="Stop a run; finished steps are kept. Only when the user no longer wants the result. Quick.",
        annotations=REPEATABLE,
    )
    add_tool(
        server,
        list_runs,
        title="List runs",
        description="The latest runs with their states and files. To find a lost run. Quick.",
        annotations=READS,
    )


def _from_disk(service: Service, run: str, token: ProgressToken) -> CallToolResult:
    """The reply about a restoration by an earlier server process."""
    state = service.run_state(run)
    if not state.finished:
        return picture_response(
            [
                fact("state", "stopped before the end"),
                fact("run", run),
                *progress_lines(state),
                fact("next", f"the same restore_to_4k call on {Path(state.source).name} continues from here"),
            ]
        )
    restored = Restoration(state, service.settings.runs / run)
    image = read_image(service.result_of(state), service.settings.limits(), token=token)
    token.check()
    picture = Picture(handle=f"run://{run}", width=image.width, height=image.height)
    original = Picture(handle=state.source, width=state.nodes[0].width, height=state.nodes[0].height)
    seen = _before_and_after(restored, image, service.settings.limits())
    return picture_response(
        [*facts_of(restored, picture, original), *(one.line for one in seen)],
        *(block for one in seen for block in one.pictures),
        picture_link(picture, "The restored picture", state.output),
        report_link(run),
        meta={"restore4k/report": view_report(restored, picture, original)},
    )


def _before_and_after(restored: Restoration, image: Image, limits: Limits) -> tuple[BeforeAndAfter, ...]:
    """The pictures of a restoration's reply, from the input in its run folder; no detail if that input is reduced."""
    try:
        before = read_image(restored.folder.resolve() / "before.jpg", limits)
    except ImageError:  # missing, damaged, or a link
        return ()
    return (before_and_after(before, image, with_detail=before.width >= restored.state.nodes[0].width),)


def _listed(service: Service) -> list[dict[str, Any]]:
    """The runs of this process, then those on disk; the newest first."""
    found = {
        run.id: {
            "run": run.id,
            "tool": run.tool,
            "photo": run.photo,
            "state": run.state,
            "seconds": round(run.seconds) if run.state in ("queued", "running") else None,
            "file": run.reply.file if run.reply else None,
        }
        for run in reversed(service.runs.all())
    }
    for name in run_ids(service.settings.runs)[:MOST_LISTED]:
        with suppress(RestoreError):
            state = service.run_state(name)
            found.setdefault(
                name,
                {
                    "run": name,
                    "tool": "restore_to_4k",
                    "photo": Path(state.source).name,
                    "state": "done" if state.finished else "stopped",
                    "file": state.output if state.finished else None,
                },
            )
    return sorted(found.values(), key=lambda run: str(run["run"]), reverse=True)[:MOST_LISTED]
