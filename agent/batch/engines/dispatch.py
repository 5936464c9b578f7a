"""Distributes pictures to workers, one per worker at a time, and replaces workers that die."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from agent.batch.engines.work import BatchProgress, Outcome, Work
from agent.batch.pictures import Picture
from agent.errors import BatchError, WorkerDied
from imaging.errors import RestoreError
from imaging.progress import ProgressToken

POLL_SECONDS = 0.2
GRACE_SECONDS = 20.0
"""Time for a worker to stop before it is killed."""
MOST_DEATHS = 20
"""Consecutive worker deaths without a finished picture that end the batch."""


class WorkerHandle(Protocol):
    """A worker, which processes one picture at a time."""

    @property
    def number(self) -> int:
        """Index of the worker, 0..capacity - 1; its replacement keeps it."""

    def submit(self, work: Work) -> None:
        """Start a picture. Raises `RestoreError` if it cannot be sent."""

    def poll(self) -> Outcome | float | None:
        """The outcome of the picture, its finished share (0..1), or None without an update.

        Raises `WorkerDied`, and `RestoreError` if the result cannot be stored.
        """

    def stop(self) -> None:
        """Ask the worker to stop; its outcome is then marked as stopped."""

    def close(self) -> None:
        """Kill the worker."""


class Engine(Protocol):
    """A source of workers."""

    @property
    def capacity(self) -> int:
        """Maximum number of workers."""

    def start_worker(self, number: int) -> WorkerHandle:
        """Start a worker."""

    def ready(self, handles: Sequence[WorkerHandle], seconds: float) -> Sequence[WorkerHandle]:
        """Wait until some workers have an update, for at most `seconds`, and return them."""

    def close(self) -> None:
        """Release resources that the workers share."""


class Dispatch:
    """Runs the pictures of a batch on the workers of an engine.

    Workers are started on demand. A picture whose worker dies is retried on another one; if that dies too, the
    picture fails.
    """

    def __init__(self, engine: Engine, works: Iterator[Work]) -> None:
        self._engine, self._works = engine, works
        self._idle: list[WorkerHandle] = []
        self._busy: dict[WorkerHandle, Work] = {}
        self._again: deque[Work] = deque()
        self._died_once: set[Picture] = set()
        self._deaths = 0

    def run(self, token: ProgressToken) -> Iterator[Outcome | BatchProgress]:
        """Yield progress, and the outcome of every picture in the order in which they end.

        Ends early when `token` is cancelled. Raises `BatchError` after `MOST_DEATHS`.
        """
        try:
            while not token.is_cancelled:
                yield from self._submit_waiting()
                if not self._busy:
                    return
                for handle in self._engine.ready(tuple(self._busy), POLL_SECONDS):
                    yield from self._poll(handle)
            yield from self._stop()
        finally:
            for handle in (*self._idle, *self._busy):
                handle.close()

    def _submit_waiting(self) -> Iterator[Outcome]:
        while len(self._busy) < self._engine.capacity:
            work = self._again.popleft() if self._again else next(self._works, None)
            if work is None:
                return
            handle = self._idle.pop() if self._idle else self._engine.start_worker(self._free_number())
            try:
                handle.submit(work)
            except RestoreError as error:
                self._idle.append(handle)
                yield Outcome(work, reason=str(error))
            else:
                self._busy[handle] = work

    def _free_number(self) -> int:
        taken = {handle.number for handle in self._busy}
        return next(number for number in range(self._engine.capacity) if number not in taken)

    def _poll(self, handle: WorkerHandle) -> Iterator[Outcome | BatchProgress]:
        try:
            update = handle.poll()
        except WorkerDied as death:
            yield from self._replace(handle, death)
            return
        except RestoreError as error:
            update = Outcome(self._busy[handle], reason=str(error))
        if isinstance(update, Outcome):
            if update.stopped:
                yield from self._replace(handle, WorkerDied("the worker was stopped by another process"))
                return
            self._deaths = 0
            self._died_once.discard(update.work.picture)
            del self._busy[handle]
            self._idle.append(handle)
            yield update
        elif update is not None:
            yield BatchProgress(self._busy[handle], update)

    def _replace(self, handle: WorkerHandle, death: WorkerDied) -> Iterator[Outcome]:
        work = self._busy.pop(handle)
        handle.close()
        self._deaths += 1
        if self._deaths >= MOST_DEATHS:
            raise BatchError(
                f"{self._deaths} workers died one after another; the last: {death.message}",
                "restore one picture with `restore4k restore`; then repeat the command",
            )
        if work.picture in self._died_once:
            self._died_once.discard(work.picture)
            yield Outcome(work, reason=f"two workers died while restoring it; the second: {death.message}")
        else:
            self._died_once.add(work.picture)
            self._again.append(work)

    def _stop(self) -> Iterator[Outcome]:
        """Stop all workers, and yield pictures that ended meanwhile."""
        for handle in self._busy:
            handle.stop()
        deadline = time.monotonic() + GRACE_SECONDS
        while self._busy and time.monotonic() < deadline:
            for handle in self._engine.ready(tuple(self._busy), POLL_SECONDS):
                try:
                    update = handle.poll()
                except RestoreError:
                    update = Outcome(self._busy[handle], stopped=True)
                if isinstance(update, Outcome):
                    del self._busy[handle]
                    handle.close()
                    if not update.stopped:
                        yield update
