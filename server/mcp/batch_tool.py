"""The tool that restores a folder of pictures."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import Field

from agent.batch.engines.in_process import InProcessEngine
from agent.batch.engines.work import BatchConfig
from agent.batch.engines.worker import Worker
from agent.batch.folder import BatchFolder
from agent.batch.record import Entry
from agent.batch.request import BatchRequest
from agent.batch.runner import MOST_FAILURES_TOLD, BatchReport, Failure, Tally, run_batch
from agent.errors import BatchError
from imaging.errors import OutputExists
from imaging.progress import ProgressToken
from server.batch_status import standing
from server.errors import RequestError
from server.mcp.inputs import (
    SUFFIXES,
    ExpertRunsArgument,
    FormatArgument,
    LongSideArgument,
    ProfileArgument,
    ScaleArgument,
    SecondsArgument,
)
from server.mcp.jobs import Status
from server.mcp.responses import response
from server.mcp.service import MOST_NAMESAKES, Service
from server.mcp.tool_registration import ADDS, add_tool, for_a_model
from server.schemas import FolderReport

FolderArgument = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        description="Folder on the server's machine, inside its allowed folders; subfolders are included.",
        examples=["holiday", "."],
    ),
]
RetryArgument = Annotated[
    bool, Field(description="Retry photos that failed in an earlier call for this folder.", examples=[False])
]


def add_batch_tool(server: MCPServer[Any], service: Service) -> None:
    """Put `restore_folder` on the server."""

    async def restore_folder(
        folder: FolderArgument,
        context: Context[Any, Any],
        profile: ProfileArgument = "default",
        scale: ScaleArgument = None,
        long_side: LongSideArgument = None,
        format: FormatArgument = "png",
        retry_failed: RetryArgument = False,
        max_seconds: SecondsArgument = None,
        max_expert_runs: ExpertRunsArgument = None,
    ) -> Annotated[CallToolResult, FolderReport]:
        def work(token: ProgressToken, status: Status) -> BatchReport:
            wanted = service.profile(
                profile, scale=scale, long_side=long_side, max_seconds=max_seconds, max_expert_runs=max_expert_runs
            )
            source = service.access.readable(folder)
            if not source.is_dir():
                raise RequestError(f"{folder!r} is not a folder", "give a folder inside an allowed one")
            settings = service.settings
            request = BatchRequest(
                source,
                settings.output,
                wanted,
                suffix=SUFFIXES[format],
                retry_failed=retry_failed,
                limits=settings.limits(),
                most_pixels=settings.max_output_pixels,
                free_bytes=settings.free_bytes,
                follow_links=False,  # they may lead out of the allowed folders
            )
            request = replace(request, results=_results(request))
            return run_batch(request, partial(_engine, service), token=token, listener=partial(_tell, status))

        return response(_folder_report(await service.jobs.run(context, "restore_folder", work)))

    add_tool(
        server,
        restore_folder,
        title="Restore a folder",
        description=(
            "Restore every photo of a folder and its subfolders as restore_to_4k restores one. Use this when the "
            "user wants a whole folder restored; not for a single photo, and not before the user has seen a result. "
            "A photo that fails does not stop the others; it is reported with its reason. Takes minutes to hours and "
            "reports progress. If the call is stopped or reaches the server's time limit, the same call resumes it. "
            "The results are written to a new folder, with a summary page."
        ),
        annotations=ADDS,
    )


def _engine(service: Service, config: BatchConfig) -> InProcessEngine:
    return InProcessEngine(Worker(config, service.experts))


def _results(request: BatchRequest) -> Path:
    """The folder of an earlier call with the same settings, otherwise a new name_restored, name_restored_2, ..."""
    name = f"{request.source.name or 'folder'}_restored"
    for number in range(1, MOST_NAMESAKES):
        results = request.results / (f"{name}_{number}" if number > 1 else name)
        if not results.exists():
            return results
        try:
            if BatchFolder(results).settings() == request.settings():
                return results
        except BatchError:
            continue  # another version's
    raise OutputExists(f"{request.results} is full of folders called {name}", "move some of them away")


def _tell(status: Status, tally: Tally, entry: Entry | None) -> None:
    if tally.since is not None:
        status.progress((tally.ended + sum(tally.under_way.values())) / max(tally.total, 1))
    status.say(standing(tally))
    if entry is not None and entry.status == "failed" and tally.failed <= MOST_FAILURES_TOLD:
        status.news(f"failed: {entry.source}: {for_a_model(entry.reason)}")


def _folder_report(report: BatchReport) -> FolderReport:
    failed = report.failed + report.failed_before
    here = (
        f"{report.done} of {report.total} pictures restored, {report.done_before} in earlier calls, {failed} failed"
    )
    left = "" if report.finished else "; stopped before the end: repeat the call to resume"
    return FolderReport(
        summary=f"{here}{left}; results in {report.results}.",
        folder=report.results,
        page=report.summary,
        record=report.record,
        pictures=report.total,
        restored=report.done + report.done_before,
        failed=failed,
        finished=report.finished,
        failures=[Failure(source=one.source, reason=for_a_model(one.reason)) for one in report.failures],
    )
