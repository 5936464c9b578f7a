"""How long work is watched and stopped: one object, shared by the thread that works and the one that asked."""

from __future__ import annotations

import threading
from collections.abc import Callable

from imaging.errors import Cancelled


class ProgressToken:
    """Progress of one piece of work in [0, 1], and the wish to stop it.

    `cancel` may be called from any thread; the working thread notices at its next `report` or `check`.
    """

    def __init__(
        self, on_progress: Callable[[float], None] | None = None, cancelled: threading.Event | None = None
    ) -> None:
        self._on_progress = on_progress
        self._cancelled = cancelled or threading.Event()

    def cancel(self) -> None:
        """Ask the work, and every part of it, to stop."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` once the caller has asked to stop."""
        if self._cancelled.is_set():
            raise Cancelled

    def report(self, fraction: float) -> None:
        """Say how much is done; raise `Cancelled` like `check`."""
        self.check()
        if self._on_progress:
            self._on_progress(fraction)

    def part(self, start: float, stop: float) -> ProgressToken:
        """The token of a part of this work, whose [0, 1] is this one's [start, stop]."""
        on_progress = self._on_progress
        if on_progress is None:
            return ProgressToken(None, self._cancelled)
        return ProgressToken(lambda fraction: on_progress(start + (stop - start) * fraction), self._cancelled)

    def watched_by(self, on_progress: Callable[[float], None] | None) -> ProgressToken:
        """The same wish to stop, with the progress told to somebody else."""
        return ProgressToken(on_progress, self._cancelled)
