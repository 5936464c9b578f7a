"""The tool that restores a folder of pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from agent.batch.engines.in_process import InProcessEngine
from agent.batch.engines.worker import Worker
from agent.batch.folder import BatchFolder
from agent.batch.record import Entry, Record
from agent.batch.request import BatchRequest
from agent.batch.runner import MOST_FAILURES_LISTED, BatchReport, Failure, Tally, run_batch
from agent.errors import BatchError
from agent.finishing import Finishing
from agent.state import KEEP_INPUT
from imaging.errors import OutputExists
from server.mcp import inputs
from server.mcp.inputs import InputImage
from server.mcp.jobs import Status
from server.mcp.responses import data_response
from server.mcp.run_calls import RunTool
from server.mcp.runs import Reply, Run
from server.mcp.service import MOST_NAME, MOST_NAMESAKES, Service
from server.mcp.tool_registration import REPEATABLE, for_a_model, tool
from server.schemas import FolderReport


def _path_of(given: object) -> object:
    """A folder as a path, also from a file:// address, which some models send."""
    return InputImage.parse(given).value if isinstance(given, str) and given.startswith("file:") else given


@dataclass(frozen=True, slots=True)
class FolderOptions:
    """The arguments of a folder's restoration, apart from the folder."""

    size: inputs.SizeArgument = None
    profile: inputs.ProfileArgument = "default"
    strength: inputs.StrengthArgument = 1.0
    region: inputs.RegionArgument = None
    format: inputs.FormatArgument = "png"
    retry_failed: Annotated[bool, Field(description="Also those that failed before.")] = False
    max_seconds: inputs.SecondsArgument = None
    detail: inputs.DetailArgument = None
    strip_metadata: inputs.StripArgument = False

    def request(self, service: Service, folder: str) -> BatchRequest:
        """The batch with these options. Raises `RestoreError`."""
        wanted = service.profile(self.profile, max_seconds=self.max_seconds, detail=self.detail)
        settings = service.settings
        request = BatchRequest(
            service.readable_folder(folder),
            settings.output,
            self.size.of_any(wanted) if self.size else wanted,
            suffix=inputs.SUFFIXES[self.format],
            retry_failed=self.retry_failed,
            finishing=Finishing(self.strength, service.mask(self.region), strip_metadata=self.strip_metadata),
            limits=settings.limits(),
            most_pixels=settings.max_output_pixels,
            free_bytes=settings.free_bytes,
            follow_links=False,  # they may lead out of the allowed folders
        )
        return replace(request, results=_results(request))


@tool("Restore a folder", REPEATABLE, kind=partial(RunTool, waits=True))
def restore_folder(
    service: Service,
    run: Run,
    folder: Annotated[
        str,
        BeforeValidator(_path_of),
        Field(min_length=1, max_length=inputs.MAX_PATH, description="With its sub-folders."),
    ],
    options: FolderOptions,
) -> Reply:
    """Restore all photos of a folder as restore_to_4k does, into a new folder with a summary page. First show
    the user one result. Minutes to hours; the same call resumes it."""
    report = run_batch(
        options.request(service, folder),
        lambda config: InProcessEngine(Worker(config, service.experts)),
        token=run.token,
        listener=partial(_report_progress, run.status),
    )
    return Reply(data_response(_folder_report(report)), is_reusable=False)


def _results(request: BatchRequest) -> Path:
    """The folder of an earlier call with the same settings, otherwise a new name_restored, name_restored_2, ..."""
    own = (request.source.name or "folder").encode("utf-8", "replace")[:MOST_NAME].decode("utf-8", "ignore")
    name = f"{own}_restored"
    for number in range(1, MOST_NAMESAKES):
        results = request.results / (f"{name}_{number}" if number > 1 else name)
        if not results.exists():
            return results
        try:
            if BatchFolder(results).settings() == request.settings():
                return results
        except BatchError:
            continue  # written by another version
    raise OutputExists(f"{request.results} is full of folders called {name}", "move some of them away")


def _report_progress(status: Status, tally: Tally, entry: Entry | None) -> None:
    if tally.since is not None:
        status.fraction = (tally.ended + sum(tally.under_way.values())) / max(tally.total, 1)
    status.message = tally.status
    if entry is not None and entry.status == "failed" and tally.failed <= MOST_FAILURES_LISTED:
        status.notify(f"failed: {entry.source}: {for_a_model(entry.reason)}")


def _folder_report(report: BatchReport) -> FolderReport:
    failed, changed, unchanged = report.failed + report.failed_before, 0, 0
    with Record(Path(report.record)) as record:
        for entry in record.entries():
            if entry.status == "done":
                is_changed = entry.figures and any(step.expert != KEEP_INPUT for step in entry.figures.steps)
                changed, unchanged = changed + bool(is_changed), unchanged + (not is_changed)
    left = "" if report.finished else "; stopped before the end: repeat the call to resume"
    return FolderReport(
        summary=f"{changed} of {report.total} pictures restored, {unchanged} needed no step, {failed} failed{left}; "
        f"results in {report.results}.",
        folder=report.results,
        page=report.summary,
        pictures=report.total,
        restored=changed,
        unchanged=unchanged,
        in_earlier_calls=report.done_before,
        failed=failed,
        finished=report.finished,
        failures=[Failure(source=one.source, reason=for_a_model(one.reason)) for one in report.failures],
    )
