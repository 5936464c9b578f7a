"""The command that restores a folder of pictures."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from imaging.progress import ProgressToken
from server.cli import options
from server.cli.console import SIGNALLED, Answer, answered, stopped_by_signals, with_option_names
from server.errors import RequestError

if TYPE_CHECKING:
    from rich.console import Console

    from agent.batch.request import BatchRequest
    from agent.batch.runner import BatchReport, EngineOpener

SOME_FAILED = 1


@dataclass(frozen=True, slots=True)
class FolderOptions:
    """Options of the results folder."""

    format: Annotated[
        Literal["png", "jpg", "webp", "tiff", "avif", "heic", "jxl", "same"],
        typer.Option(
            "--format", help="File format of the results; same: that of each photo, PNG where it is not written."
        ),
    ] = "png"
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files in OUT that are not results of this batch.")
    ] = False
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry photos that failed in an earlier call.")
    ] = False
    keep_runs: Annotated[
        bool, typer.Option("--keep-runs", help="Keep the run folder of every photo, with trace and report.")
    ] = False
    thumbnails: Annotated[
        int,
        typer.Option("--thumbnails", min=0, help="Maximum thumbnails in the summary; larger batches are sampled."),
    ] = 1000

    def request(
        self,
        source: Path,
        results: Path,
        plan: options.PlanOptions,
        budget: options.BudgetOptions,
        finishing: options.FinishingOptions,
    ) -> BatchRequest:
        """The request of a batch with these options."""
        from agent.batch.pictures import SAME_FORMAT
        from agent.batch.request import BatchRequest

        return BatchRequest(
            source,
            results,
            plan.choose(budget.max_seconds, budget.max_runs),
            suffix=SAME_FORMAT if self.format == SAME_FORMAT else f".{self.format}",
            overwrite=self.overwrite,
            retry_failed=self.retry_failed,
            finishing=finishing.value(),
            keep_runs=self.keep_runs,
            thumbnails=self.thumbnails,
        )


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Number and place of the workers."""

    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Number of workers. Default: one per GPU, otherwise one per core."),
    ] = None
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads per worker. Default without a GPU: 1.")
    ] = None
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option("--engine", help="Worker processes on this machine, or actors of a Ray cluster."),
    ] = "local"
    address: Annotated[
        str | None,
        typer.Option("--address", help="Address of the Ray cluster. Default: start one on this machine."),
    ] = None
    memory: options.MemoryOption = None

    def opener(self) -> EngineOpener:
        """A function that opens the engine. Raises `RequestError`."""
        common: dict[str, Any] = {"workers": self.workers, "threads": self.threads, "memory": self.memory}
        if self.engine == "ray":
            from agent.batch.engines.on_ray import RayEngine

            return partial(RayEngine, address=self.address, **common)
        if self.address is not None:
            raise RequestError("--address needs --engine ray", "give both, or neither")
        from agent.batch.engines.local import LocalEngine

        return partial(LocalEngine, **common)


@answered
def batch(
    answer: Answer,
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder of photos; its subfolders are restored too.")],
    results: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the results, with the same subfolders.")],
    plan: options.PlanOptions,
    budget: options.BudgetOptions,
    finishing: options.FinishingOptions,
    folder: FolderOptions,
    engine: EngineOptions,
    quiet: options.QuietOption = False,
) -> None:
    """Restore a folder of photos. Repeat the same command to resume a batch that was stopped.

    --max-seconds and --max-runs apply to each photo.
    """
    from agent.batch.runner import run_batch
    from server.cli.batch_view import BatchView

    if engine.engine == "ray" and folder.keep_runs:
        raise RequestError("with --engine ray the run folders stay on other machines", "omit --keep-runs")
    request, opener = folder.request(source, results, plan, budget, finishing), engine.opener()
    token = ProgressToken()
    with stopped_by_signals(token) as received, BatchView(quiet=quiet) as view:
        report = run_batch(request, opener, token=token, listener=view)
    if not report.finished:
        raise answer.fail(
            "Cancelled",
            f"stopped after {report.done + report.done_before} of {report.total} pictures",
            f"resume with: {shlex.join(['restore4k', *sys.argv[1:]])}",
            SIGNALLED + received(),
            results=report.results,
        )
    answer.report(report, _show)
    if report.failed or report.failed_before:
        raise typer.Exit(SOME_FAILED)


def _show(console: Console, report: BatchReport) -> None:
    before = f", {report.done_before} in earlier calls" if report.done_before else ""
    console.print(f"restored: {report.done} of {report.total} pictures in {report.seconds:.1f} s{before}")
    failed = report.failed + report.failed_before
    if failed:
        again = f", {report.failed_before} of them in earlier calls (--retry-failed)" if report.failed_before else ""
        console.print(f"failed:   {failed}{again}")
        for failure in report.failures:
            console.print(f"  {failure.source}: {with_option_names(failure.reason)}")
    if report.passed_over:
        kinds = ", ".join(f"{count} {kind}" for kind, count in report.passed_over.items())
        console.print(f"skipped:  {kinds} (not pictures)")
    console.print(f"results:  {report.results}")
    console.print(f"summary:  {report.summary}")
