"""Tools for runs that take longer than their call."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import BeforeValidator, Field

from agent.run import Restoration
from imaging.errors import ImageError, RestoreError
from imaging.progress import ProgressToken
from imaging.reading import read_image
from server.mcp.inputs import WaitArgument
from server.mcp.previews import before_and_after
from server.mcp.resources import run_ids
from server.mcp.responses import data_response, fact, picture_response
from server.mcp.restoration_text import progress_lines, restoration_response
from server.mcp.runs import RunUnderWay
from server.mcp.service import Service
from server.mcp.tool_registration import READS, REPEATABLE, tool
from server.schemas import Picture

MOST_LISTED = 20


def _identifier(given: object) -> object:
    """The identifier of a run, without run:// and any path after it."""
    return given.strip().removeprefix("run://").partition("/")[0] if isinstance(given, str) else given


RunArgument = Annotated[str, BeforeValidator(_identifier), Field(max_length=100)]


@tool("Get a run", READS)
async def get_run(
    service: Service, context: Context[Any, Any], run: RunArgument, wait_seconds: WaitArgument = None
) -> CallToolResult:
    """Wait for a run that did not end within its call: its result, or state, findings and finished steps.
    Repeat until it is done; a failed run answers with its error."""
    known = service.runs.find(run)
    if known is None:
        return await service.jobs.run(context, "get_run", lambda token, _: _from_disk(service, run, token))
    return await service.runs.wait(context, known, wait_seconds) or RunUnderWay.of(known)


@tool("Cancel a run", REPEATABLE)
async def cancel_run(service: Service, run: RunArgument) -> CallToolResult:
    """Stop a run; finished steps are kept. Only when the user no longer wants the result. Quick."""
    known = service.runs.find(run)
    if known is None:
        state = await anyio.to_thread.run_sync(service.run_state, run)
        ended = "finished" if state.finished else "not running"
        return picture_response([fact("state", ended), fact("run", run)])
    if not known.over.is_set():
        await service.runs.cancel(known)
    is_cancelled = known.state == "cancelled"
    next_call = "the same call continues from the last finished step" if is_cancelled else "get_run gives its result"
    return picture_response([fact("state", known.state), fact("run", run), fact("next", next_call)])


@tool("List runs", READS)
async def list_runs(service: Service) -> CallToolResult:
    """The latest runs with their states and files. To find a lost run. Quick."""
    return data_response({"runs": await anyio.to_thread.run_sync(_listed, service)})


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
    try:
        before = read_image(restored.folder.resolve() / "before.jpg", service.settings.limits())
    except ImageError:  # the input in the run folder is missing, damaged, or a link
        seen = None
    else:  # no detail if that input is reduced
        seen = before_and_after(before, image, with_detail=before.width >= original.width)
    return restoration_response(restored, picture, original, seen)


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
