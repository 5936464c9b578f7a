"""Progress and cancellation of long work, shared between the working thread and the caller."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import wait
from typing import TypeVar

from imaging.errors import Cancelled

T = TypeVar("T")
POLL_SECONDS = 0.1


class ProgressToken:
    """Reports the progress of one piece of work in [0, 1], and cancels it.

    `cancel` may be called from any thread; the next `report` or `check` in the working thread raises `Cancelled`.
    """

    def __init__(
        self, on_progress: Callable[[float], None] | None = None, cancelled: threading.Event | None = None
    ) -> None:
        self._on_progress = on_progress
        self._cancelled = cancelled or threading.Event()

    def cancel(self) -> None:
        """Request that the work and all its parts stop."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether the caller has asked to stop."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if the caller has asked to stop."""
        if self._cancelled.is_set():
            raise Cancelled

    def report(self, fraction: float) -> None:
        """Report the finished fraction; raises `Cancelled` like `check`."""
        self.check()
        if self._on_progress:
            self._on_progress(fraction)

    def part(self, start: float, stop: float) -> ProgressToken:
        """A token for a part of this work; its [0, 1] is mapped to [start, stop] of this one."""
        on_progress = self._on_progress
        if on_progress is None:
            return ProgressToken(None, self._cancelled)
        return ProgressToken(lambda fraction: on_progress(start + (stop - start) * fraction), self._cancelled)

    def watched_by(self, on_progress: Callable[[float], None] | None) -> ProgressToken:
        """A token that is cancelled with this one and reports its progress to another function."""
        return ProgressToken(on_progress, self._cancelled)


def run_cancellable(token: ProgressToken, work: Callable[[], Awaitable[T]]) -> T:
    """Run asynchronous work, such as a download, in an event loop of its own, and return its result.

    Raises what it raises, and `Cancelled` within `POLL_SECONDS` of the cancellation.
    """
    from anyio.from_thread import start_blocking_portal

    token.check()
    with start_blocking_portal() as portal:
        future = portal.start_task_soon(work)
        try:
            while not wait([future], POLL_SECONDS).done:
                token.check()
        finally:
            future.cancel()
        return future.result()
