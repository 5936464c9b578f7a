"""Restore every picture of a folder: unchanged results are kept, and a failure does not stop the batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel

from agent.batch.engines.dispatch import Dispatch, Engine
from agent.batch.engines.work import BatchConfig, BatchProgress, Outcome, Work
from agent.batch.folder import BatchFolder, Settings, key_of
from agent.batch.page import write_pages
from agent.batch.pictures import BATCH_FOLDER, Picture, pictures
from agent.batch.record import Entry, Record
from agent.errors import BatchError
from imaging.disk import require_space
from imaging.errors import Cancelled, OutputError, OutputExists, ResourceError
from imaging.progress import ProgressToken
from imaging.reading import READABLE, Limits
from imaging.writing import FORMAT_OF
from profiles.schema import Profile

MOST_THUMBNAILS = 1000
MOST_FAILURES_TOLD = 20
FREE_BYTES = 1 << 30
TELL_EVERY = 500
"""While pictures are only counted or found to be done."""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What is asked of a batch."""

    source: Path
    results: Path
    profile: Profile
    suffix: str = ".png"
    overwrite: bool = False
    """Replace foreign files, and results of other settings."""
    retry_failed: bool = False
    keep_runs: bool = False
    thumbnails: int = MOST_THUMBNAILS
    """Maximum thumbnails in the summary; larger batches are sampled."""
    limits: Limits = field(default_factory=Limits)
    most_pixels: int | None = None
    free_bytes: int = FREE_BYTES
    """What is left free on the disk of the results."""
    follow_links: bool = True

    def settings(self) -> Settings:
        """What its results have in common."""
        return Settings(source=str(self.source.resolve()), profile=self.profile, suffix=self.suffix)


@dataclass(slots=True)
class Tally:
    """How far a batch is."""

    total: int = 0
    done: int = 0
    failed: int = 0
    done_before: int = 0
    failed_before: int = 0
    """Failed in an earlier call, and not tried again."""
    under_way: dict[str, float] = field(default_factory=dict)
    """How much is done of the pictures that workers have, 0..1."""
    since: float | None = None
    """When the first picture was given to a worker, by `time.monotonic`."""

    @property
    def ended(self) -> int:
        """How many have ended, now or before."""
        return self.done + self.failed + self.done_before + self.failed_before

    @property
    def per_second(self) -> float:
        """Pictures that end in a second."""
        seconds = time.monotonic() - self.since if self.since is not None else 0.0
        return (self.done + self.failed + sum(self.under_way.values())) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None as long as nothing is known."""
        rate = self.per_second
        return (self.total - self.ended - sum(self.under_way.values())) / rate if rate > 0 else None


BatchListener: TypeAlias = Callable[[Tally, Entry | None], None]
"""Hears of every change; with the entry, where a picture has just ended."""
EngineOpener: TypeAlias = Callable[[BatchConfig], Engine]


class Failure(BaseModel):
    """A picture without a result."""

    source: str
    reason: str


class BatchReport(BaseModel):
    """What a batch came to."""

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
    """The first of them; all are in the record."""
    finished: bool
    """Every picture has been tried; otherwise the same call goes on."""


def run_batch(
    request: BatchRequest,
    open_engine: EngineOpener,
    *,
    token: ProgressToken | None = None,
    listener: BatchListener | None = None,
) -> BatchReport:
    """Restore what is not done yet; gives its report also where `token` was cancelled.

    Raises `BatchError` and `OutputError` for what cannot work, and `ResourceError` when the disk is full; what has
    been done is kept, and the same call goes on.
    """
    _check(request)
    started = time.monotonic()
    settings = request.settings()
    folder = BatchFolder(request.results.resolve())
    with folder.held():
        folder.adopt(settings, overwrite=request.overwrite)
        with Record(folder.record) as record:
            batch = _Batch(request, settings.digest, folder, record, token or ProgressToken(), listener)
            batch.run(open_engine)
            write_pages(folder, settings, record.entries())
            return batch.report(time.monotonic() - started)


class _Batch:
    """The work of one call."""

    def __init__(
        self,
        request: BatchRequest,
        digest: str,
        folder: BatchFolder,
        record: Record,
        token: ProgressToken,
        listener: BatchListener | None,
    ) -> None:
        self._request, self._digest, self._folder, self._record = request, digest, folder, record
        self._token, self._listener = token, listener
        self._tally = Tally()
        self._pictures: dict[str, Picture] = {}
        """Those that workers have."""
        self._failures: list[Failure] = []
        self._full: ResourceError | None = None
        self._stopped = False

    def run(self, open_engine: EngineOpener) -> None:
        """Count, then bring every picture to its end."""
        try:
            for _ in self._walk():
                self._tally.total += 1
                if self._tally.total % TELL_EVERY == 0:
                    self._tell()
            works = self._works()
            first = next(works, None)
            if first is not None:
                self._tally.since = time.monotonic()
                self._work(open_engine, chain((first,), works))
            self._token.check()
        except Cancelled:
            self._stopped = True
        if self._full is not None:
            raise self._full

    def report(self, seconds: float) -> BatchReport:
        """What it came to."""
        tally = self._tally
        return BatchReport(
            results=str(self._folder.results),
            summary=str(self._folder.path / "summary.html"),
            record=str(self._folder.record),
            total=tally.total,
            done=tally.done,
            failed=tally.failed,
            done_before=tally.done_before,
            failed_before=tally.failed_before,
            seconds=round(seconds, 3),
            failures=self._failures,
            finished=not self._stopped or 0 < tally.total <= tally.ended,
        )

    def _work(self, open_engine: EngineOpener, works: Iterator[Work]) -> None:
        request, folder = self._request, self._folder
        engine = open_engine(
            BatchConfig(
                request.profile,
                request.limits,
                runs=folder.runs if request.keep_runs else None,
                scratch=folder.scratch,
                most_pixels=request.most_pixels,
            )
        )
        try:
            for update in Dispatch(engine, works).run(self._token):
                if isinstance(update, BatchProgress):
                    self._tally.under_way[update.work.source] = update.fraction
                    self._tell()
                else:
                    self._end(update)
        finally:
            engine.close()

    def _walk(self) -> Iterator[Picture]:
        request = self._request
        for picture in pictures(request.source.resolve(), follow_links=request.follow_links):
            self._token.check()
            yield picture

    def _works(self) -> Iterator[Work]:
        """What is to be done, picture by picture; what needs no worker is settled on the way."""
        with suppress(Cancelled):
            for picture in self._walk():
                if self._is_complete(picture):
                    if self._tally.ended % TELL_EVERY == 0:
                        self._tell()
                    continue
                if self._is_full():
                    return
                self._pictures[picture.name] = picture
                output = self._folder.finished(picture.name, self._request.suffix)
                yield Work(picture.name, picture.file, output, thumbnails=self._is_shown(picture))

    def _is_full(self) -> bool:
        """Whether the disk is; the pictures under way are still brought to their end."""
        try:
            require_space(self._folder.results, self._request.free_bytes)
        except ResourceError as error:
            self._full = error
        return self._full is not None

    def _is_complete(self, picture: Picture) -> bool:
        entry = self._record.latest(picture.name)
        obstacle = self._obstacle(picture, entry)
        if entry is not None and self._still_holds(entry, picture):
            if entry.status == "done" and self._is_in_place(entry):
                self._tally.done_before += 1
                return True
            if entry.status == "failed" and not self._is_tried_again(entry, obstacle):
                self._tally.failed_before += 1
                self._note_failure(entry)
                return True
        if picture.problem or obstacle:
            self._fail(picture, picture.problem or obstacle, blocked=not picture.problem)
            return True
        return False

    def _is_tried_again(self, entry: Entry, obstacle: str) -> bool:
        return self._request.retry_failed or (entry.blocked and not obstacle)

    def _still_holds(self, entry: Entry, picture: Picture) -> bool:
        """Whether the entry was made of this very file by these settings."""
        return (entry.size, entry.modified_ns, entry.settings) == (picture.size, picture.modified_ns, self._digest)

    def _is_in_place(self, entry: Entry) -> bool:
        """Whether its result is there; one that a kill left on the way is brought there."""
        if self._folder.has(entry):
            return True
        if not self._folder.has_unpublished(entry):
            return False
        try:
            self._folder.publish(entry)
        except OSError:
            return False
        return True

    def _obstacle(self, picture: Picture, entry: Entry | None) -> str:
        """What stands where the result goes, and may not be replaced; empty where nothing does."""
        target = self._folder.results / picture.restored_name(self._request.suffix)
        if not target.exists() or (self._request.overwrite and target.is_file()):
            return ""
        return "" if self._is_ours(picture, entry) else _exists(target)

    def _is_ours(self, picture: Picture, entry: Entry | None) -> bool:
        """Whether what stands at its place is an earlier result, untouched since."""
        if entry is None or entry.output != picture.restored_name(self._request.suffix):
            return False
        return self._folder.has(entry)

    def _end(self, outcome: Outcome) -> None:
        """Record what a worker gave; then give the result its place."""
        picture = self._pictures.pop(outcome.work.source)
        self._tally.under_way.pop(picture.name, None)
        if outcome.figures is None:
            self._fail(picture, outcome.reason)
            return
        before = self._record.latest(picture.name)
        output = outcome.work.result.stat()
        entry = self._entry(picture).model_copy(
            update={
                "status": "done",
                "output": picture.restored_name(self._request.suffix),
                "figures": outcome.figures,
                "output_size": output.st_size,
                "output_modified_ns": output.st_mtime_ns,
                "replaces": self._request.overwrite or self._is_ours(picture, before),
            }
        )
        if outcome.before:
            self._folder.save_thumbnails(picture.name, outcome.before, outcome.after)
        self._record.append(entry)
        try:
            self._folder.publish(entry)
        except OSError as error:
            outcome.work.result.unlink(missing_ok=True)
            blocked = isinstance(error, FileExistsError)
            target = self._folder.results / entry.output
            why = _exists(target) if blocked else f"{target} cannot be written: {error.strerror or error}"
            self._fail(picture, why, blocked=blocked)
        else:
            self._tally.done += 1
            self._tell(entry)

    def _fail(self, picture: Picture, reason: str, *, blocked: bool = False) -> None:
        message = reason.encode("utf-8", "replace").decode()
        entry = self._entry(picture).model_copy(update={"reason": message, "blocked": blocked})
        self._record.append(entry)
        self._tally.failed += 1
        self._note_failure(entry)
        self._tell(entry)

    def _note_failure(self, entry: Entry) -> None:
        if len(self._failures) < MOST_FAILURES_TOLD:
            self._failures.append(Failure(source=entry.source, reason=entry.reason))

    def _entry(self, picture: Picture) -> Entry:
        """The beginning of one; it still knows the result of the one before."""
        before = self._record.latest(picture.name)
        result = before.model_dump(include={"output", "output_size", "output_modified_ns"}) if before else {}
        return Entry(
            **result,
            source=picture.name,
            status="failed",
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            settings=self._digest,
            size=picture.size,
            modified_ns=picture.modified_ns,
        )

    def _is_shown(self, picture: Picture) -> bool:
        """Whether the summary shows it: all of a few, of many so many as are wanted, by lot."""
        wanted = self._request.thumbnails / max(self._tally.total, 1)
        return int(key_of(picture.name)[:8], 16) / 0xFFFFFFFF <= wanted and self._request.thumbnails > 0

    def _tell(self, entry: Entry | None = None) -> None:
        if self._listener:
            self._listener(self._tally, entry)


def _check(request: BatchRequest) -> None:
    source, results = request.source.resolve(), request.results.resolve()
    if not source.is_dir():
        raise BatchError(f"{request.source} is no folder", "give a folder with pictures")
    if results == source:
        raise BatchError(
            f"results in {request.results} itself would be taken for pictures the next time",
            f"give another folder, for example {results / 'restored'}",
        )
    if results.exists() and not results.is_dir():
        raise OutputError(f"{request.results} is a file", "give a folder for the results")
    if BATCH_FOLDER in source.parts:
        raise BatchError(f"{request.source} is what a batch keeps for itself", "give a folder with pictures")
    if request.suffix not in FORMAT_OF:
        raise OutputError(f"there is no format {request.suffix!r}", f"use one of {', '.join(FORMAT_OF)}")
    if next(pictures(source, follow_links=request.follow_links), None) is None:
        raise BatchError(
            f"there is no picture in {request.source} or below", f"pictures end in {', '.join(sorted(READABLE))}"
        )


def _exists(target: Path) -> str:
    return str(OutputExists(f"{target} exists already", "move it away and call again, or ask for overwriting"))
