"""Restores every picture of a folder; up-to-date results are kept, and a failure does not stop the batch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel

from agent.batch.engines.dispatch import Dispatch, Engine
from agent.batch.engines.work import BatchConfig, BatchProgress, Work
from agent.batch.folder import BatchFolder, key_of
from agent.batch.page import write_pages
from agent.batch.pictures import Picture, pictures
from agent.batch.record import Entry, Record
from agent.batch.request import BatchRequest
from agent.batch.results import Results
from agent.report.text import duration
from imaging.disk import require_space
from imaging.errors import ResourceError
from imaging.progress import ProgressToken

MOST_FAILURES_LISTED = 20
REPORT_EVERY = 500
"""Pictures between two progress reports while pictures are only counted or skipped."""


@dataclass(slots=True)
class Tally:
    """The progress of a batch."""

    total: int = 0
    done: int = 0
    failed: int = 0
    done_before: int = 0
    failed_before: int = 0
    """Failed in an earlier call, and not retried."""
    under_way: dict[str, float] = field(default_factory=dict)
    """Finished share of each picture that is being processed, 0..1."""
    since: float | None = None
    """`time.monotonic` when the first worker got a picture."""

    @property
    def ended(self) -> int:
        """Pictures that have ended, in this call or an earlier one."""
        return self.done + self.failed + self.done_before + self.failed_before

    @property
    def per_second(self) -> float:
        """Pictures that end per second in this call."""
        seconds = time.monotonic() - self.since if self.since is not None else 0.0
        return (self.done + self.failed + sum(self.under_way.values())) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated remaining time; None before the first progress."""
        rate = self.per_second
        return (self.total - self.ended - sum(self.under_way.values())) / rate if rate > 0 else None

    @property
    def status(self) -> str:
        """The progress in one line."""
        if self.since is None and not self.ended:
            return f"looking for pictures: {self.total}"
        parts = [f"{self.ended} of {self.total} pictures", f"{self.failed + self.failed_before} failed"]
        if self.done_before:
            parts.append(f"{self.done_before} done in earlier calls")
        if rate := self.per_second:
            parts.append(f"{rate:.2g} per second" if rate >= 1 else f"{duration(1 / rate)} each")
        if (left := self.seconds_left) is not None:
            parts.append(f"{duration(max(left, 0))} left")
        return ", ".join(parts)


BatchListener: TypeAlias = Callable[[Tally, Entry | None], None]
"""Called at every change, with the entry of the picture that has just ended, if any."""
EngineOpener: TypeAlias = Callable[[BatchConfig], Engine]


class Failure(BaseModel):
    """A picture without a result."""

    source: str
    reason: str


class BatchReport(BaseModel):
    """The outcome of one call."""

    results: str
    summary: str
    record: str
    total: int
    done: int
    failed: int
    done_before: int
    failed_before: int
    seconds: float
    failures: list[Failure]
    """The first failures; all are in the record."""
    passed_over: dict[str, int] = {}
    """Number of files that are not pictures, by suffix."""
    finished: bool
    """Every picture has been tried; otherwise the same call resumes the batch."""


def run_batch(
    request: BatchRequest,
    open_engine: EngineOpener,
    *,
    token: ProgressToken | None = None,
    listener: BatchListener | None = None,
) -> BatchReport:
    """Restore the pictures without an up-to-date result; returns a report even if `token` is cancelled.

    Raises `BatchError` and `OutputError` for a request that cannot work, and `ResourceError` when the disk is full;
    finished results are kept, and the same call resumes the batch.
    """
    request.check()
    started = time.monotonic()
    settings = request.settings()
    folder = BatchFolder(request.real_results)
    with folder.held():
        folder.adopt(settings, overwrite=request.overwrite)
        with Record(folder.record) as record:
            results = Results(request, folder, record)
            batch = _Batch(request, folder, results, token or ProgressToken(), listener or (lambda *_: None))
            batch.run(open_engine)
            write_pages(folder, settings, record.entries())
            return batch.report(time.monotonic() - started)


@dataclass(slots=True)
class _Batch:
    """One call: walks the folder, dispatches pictures without a result, counts finished ones."""

    request: BatchRequest
    folder: BatchFolder
    results: Results
    token: ProgressToken
    listener: BatchListener
    tally: Tally = field(default_factory=Tally)
    failures: list[Failure] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    full: ResourceError | None = None
    """Set when the disk is full; pictures in progress are still finished."""

    def run(self, open_engine: EngineOpener) -> None:
        """Count the pictures, then restore them."""
        for _ in self._walk(self.passed_over):
            self.tally.total += 1
            if self.tally.total % REPORT_EVERY == 0:
                self.listener(self.tally, None)
        works = self._works()
        first = next(works, None)
        if first is not None:
            self.tally.since = time.monotonic()
            self._work(open_engine, chain((first,), works))
        if self.full is not None:
            raise self.full

    def report(self, seconds: float) -> BatchReport:
        """The report of this call."""
        tally = self.tally
        return BatchReport(
            **asdict(tally),
            results=str(self.folder.results),
            summary=str(self.folder.path / "summary.html"),
            record=str(self.folder.record),
            seconds=round(seconds, 3),
            failures=self.failures,
            passed_over=dict(self.passed_over.most_common()),
            finished=not self.token.is_cancelled or 0 < tally.total <= tally.ended,
        )

    def _walk(self, passed_over: Counter[str] | None = None) -> Iterator[Picture]:
        """The pictures of the folder, until the token is cancelled."""
        request = self.request
        for picture in pictures(request.source.resolve(), follow_links=request.follow_links, passed_over=passed_over):
            if self.token.is_cancelled:
                return
            yield picture

    def _works(self) -> Iterator[Work]:
        """The pictures for workers, generated on demand until the disk is full."""
        for picture in self._walk():
            if not self._needs_work(picture):
                if self.tally.ended % REPORT_EVERY == 0:
                    self.listener(self.tally, None)
                continue
            try:
                require_space(self.folder.results, self.request.free_bytes)
            except ResourceError as error:
                self.full = error
            if self.full is not None:
                return
            name = picture.restored_name(self.request.suffix)
            result = self.folder.finished(picture.name, Path(name).suffix)
            yield Work(picture, result, thumbnails=self._is_shown(picture))

    def _needs_work(self, picture: Picture) -> bool:
        """Whether a worker must restore it; an earlier result is counted, and an obstacle recorded as a failure."""
        entry = self.results.earlier(picture)
        if entry is not None:
            self._count(entry, is_earlier=True)
            return False
        problem = picture.problem or self.results.obstacle(picture)
        if problem:
            self._count(self.results.fail(picture, problem, blocked=not picture.problem))
        return not problem

    def _is_shown(self, picture: Picture) -> bool:
        """Whether the summary shows it; a large batch is sampled by the hash of the name."""
        wanted = self.request.thumbnails / max(self.tally.total, 1)
        return int(key_of(picture.name)[:8], 16) / 0xFFFFFFFF <= wanted and self.request.thumbnails > 0

    def _work(self, open_engine: EngineOpener, works: Iterator[Work]) -> None:
        request, folder = self.request, self.folder
        engine = open_engine(
            BatchConfig(request, runs=folder.runs if request.keep_runs else None, scratch=folder.scratch)
        )
        try:
            for update in Dispatch(engine, works).run(self.token):
                picture = update.work.picture
                if isinstance(update, BatchProgress):
                    self.tally.under_way[picture.name] = update.fraction
                    self.listener(self.tally, None)
                    continue
                self.tally.under_way.pop(picture.name, None)
                if update.is_disk_full:
                    self.full = ResourceError(update.reason)
                else:
                    self._count(self.results.store(picture, update))
        finally:
            engine.close()

    def _count(self, entry: Entry, *, is_earlier: bool = False) -> None:
        """Count a picture that has just ended, or in an earlier call."""
        tally, is_done = self.tally, entry.status == "done"
        if is_earlier:
            tally.done_before += is_done
            tally.failed_before += not is_done
        else:
            tally.done += is_done
            tally.failed += not is_done
        if not is_done and len(self.failures) < MOST_FAILURES_LISTED:
            self.failures.append(Failure(source=entry.source, reason=entry.reason))
        if not is_earlier:
            self.listener(self.tally, entry)
