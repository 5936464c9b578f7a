"""The command that restores a folder of pictures."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imaging.progress import ProgressToken
from server.cli.console import SIGNALLED, Answer, in_options, stopped_by_signals
from server.cli.options import (
    JsonOption,
    LongSideOption,
    MemoryOption,
    NonCommercialOption,
    ProfileOption,
    QuietOption,
    ReasonerOption,
    ScaleOption,
)

if TYPE_CHECKING:
    from rich.console import Console

    from agent.batch.runner import BatchReport, EngineOpener

SOME_FAILED = 1
EngineName = Literal["local", "ray"]


def batch(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="The folder of photos; those of its sub-folders are restored too.")
    ],
    results: Annotated[
        Path, typer.Argument(metavar="OUT", help="The folder for the results, with the same sub-folders.")
    ],
    profile: ProfileOption = "default",
    scale: ScaleOption = None,
    long_side: LongSideOption = None,
    reasoner: ReasonerOption = None,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="For each photo: begin no further step after so long.")
    ] = None,
    max_runs: Annotated[
        int | None,
        typer.Option("--max-runs", help="For each photo: stop after N expert runs and return the best result."),
    ] = None,
    non_commercial: NonCommercialOption = False,
    format: Annotated[
        Literal["png", "jpg", "webp", "tiff", "avif"], typer.Option("--format", help="Of the results.")
    ] = "png",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files in OUT that are not results of this batch.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier call.")
    ] = False,
    keep_runs: Annotated[
        bool, typer.Option("--keep-runs", help="Keep the run folder of every photo, with trace and report.")
    ] = False,
    thumbnails: Annotated[
        int,
        typer.Option("--thumbnails", min=0, help="Maximum thumbnails in the summary; larger batches are sampled."),
    ] = 1000,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="How many at once; otherwise one for each GPU, or for each core."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Of each worker; without GPUs otherwise one.")
    ] = None,
    engine: Annotated[
        EngineName, typer.Option("--engine", help="Worker processes here, or the actors of a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option("--address", help="Of a Ray cluster; otherwise one is started on this machine.")
    ] = None,
    memory: MemoryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Restore a folder of photos. The same command again goes on where it was stopped."""
    with Answer(as_json) as answer:
        from agent.batch.runner import BatchRequest, run_batch
        from server.cli.batch_view import BatchView
        from server.profile_options import choose_profile

        request = BatchRequest(
            source,
            results,
            choose_profile(
                profile,
                scale=scale,
                long_side=long_side,
                reasoner=reasoner,
                max_seconds=max_seconds,
                max_expert_runs=max_runs,
                non_commercial=non_commercial,
            ),
            suffix=f".{format}",
            overwrite=overwrite,
            retry_failed=retry_failed,
            keep_runs=keep_runs,
            thumbnails=thumbnails,
        )
        opener = _opener(engine, address, workers, threads, keep_runs)
        token = ProgressToken()
        with stopped_by_signals(token) as received, BatchView(quiet=quiet) as view:
            report = run_batch(request, opener, token=token, listener=view)
        if not report.finished:
            raise answer.fail(
                "Cancelled",
                f"stopped after {report.done + report.done_before} of {report.total} pictures",
                f"go on with: {shlex.join(['restore4k', *sys.argv[1:]])}",
                SIGNALLED + received(),
                results=report.results,
            )
        answer.write(report.model_dump(mode="json"), partial(_show, report))
        if report.failed or report.failed_before:
            raise typer.Exit(SOME_FAILED)


def _opener(
    name: EngineName, address: str | None, workers: int | None, threads: int | None, keep_runs: bool
) -> EngineOpener:
    from server.errors import RequestError

    if name == "ray":
        from agent.batch.engines.on_ray import RayEngine

        if keep_runs:
            raise RequestError("with --engine ray the run folders stay on other machines", "leave --keep-runs away")
        return partial(RayEngine, workers=workers, threads=threads, address=address)
    if address is not None:
        raise RequestError("--address is that of a Ray cluster", "give --engine ray with it")
    from agent.batch.engines.local import LocalEngine

    return partial(LocalEngine, workers=workers, threads=threads)


def _show(report: BatchReport, console: Console) -> None:
    before = f", {report.done_before} were done before" if report.done_before else ""
    console.print(f"restored: {report.done} of {report.total} pictures in {report.seconds:.1f} s{before}")
    failed = report.failed + report.failed_before
    if failed:
        again = f", {report.failed_before} of them before (--retry-failed)" if report.failed_before else ""
        console.print(f"failed:   {failed}{again}")
        for failure in report.failures:
            console.print(f"  {failure.source}: {in_options(failure.reason)}")
    console.print(f"results:  {report.results}")
    console.print(f"summary:  {report.summary}")
