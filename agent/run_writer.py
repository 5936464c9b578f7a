"""Writes a run to disk: images and states in a separate thread, events immediately.

The run on disk is consistent at every moment and at most one step behind.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec

from agent.events import Event, Listener, Progress
from agent.run_folder import RunFolder
from agent.state import RunState
from agent.timer import Timer
from imaging.image import Image
from imaging.pixels import is_in_file
from imaging.preparing import as_stored

P = ParamSpec("P")


class RunWriter:
    """Persistence of one run."""

    def __init__(self, folder: RunFolder, timer: Timer) -> None:
        self._folder = folder
        self._timer = timer
        self._thread = ThreadPoolExecutor(1, "restore4k-trace")
        self._pending: list[Future[object]] = []
        self._broken = False

    def save_state(self, state: RunState) -> None:
        """Replace the state on disk."""
        with self._timer.section("trace"):
            self._write(self._folder.save_state, state)

    def store_image(self, node: int, image: Image) -> Image:
        """Save a node's image and thumbnail; returns the image rounded to 16 bit, as it is on disk.

        A resumed run reads it, so it continues with the same pixels as an uninterrupted run.
        """
        with self._timer.section("trace"):
            stored = as_stored(image)
            self.flush()  # at most one image waits for the disk
            self._write(self._folder.save_image, node, stored)
            self._write(self._folder.save_thumbnail, str(node), stored)
            self._flush_where_memory_is_short(stored)
        return stored

    def load_image(self, node: int) -> Image:
        """A node's image, read after all pending writes."""
        self.flush()
        return self._folder.load_image(node)

    def save_before_after(self, result: Image) -> None:
        """Save the two pictures of the report's slider: the input and the result."""
        self._write(lambda: self._folder.save_before_after(self._folder.load_image(0), result))
        self._flush_where_memory_is_short(result)

    def flush(self) -> None:
        """Wait for all pending writes. Raises `RunError` if one failed."""
        with self._timer.section("trace"):
            pending, self._pending = self._pending, []
            for one in pending:
                one.result()

    def close(self) -> None:
        """Flush and end the thread. Raises like `flush`."""
        self._thread.shutdown()
        self.flush()

    def _flush_where_memory_is_short(self, image: Image) -> None:
        """Wait until a memory-mapped image is written: two threads reading it at once would need it in memory."""
        if is_in_file(image.pixels):
            self.flush()

    def _write(self, write: Callable[P, object], *what: P.args, **named: P.kwargs) -> None:
        self._pending.append(self._thread.submit(self._write_now, lambda: write(*what, **named)))

    def _write_now(self, write: Callable[[], object]) -> None:
        """Skip all writes after a failed one, so that a state on disk refers only to images that exist."""
        if not self._broken:
            self._broken = True
            write()
            self._broken = False


class EventLog:
    """The events of one run, each stamped with the seconds since the run began."""

    def __init__(self, folder: RunFolder, timer: Timer, listener: Listener | None) -> None:
        self._folder = folder
        self._timer = timer
        self._listener = listener
        self._fraction = 0.0

    def emit(self, event: Event) -> None:
        """Append an event to the trace and pass it to the listener."""
        event = event.model_copy(update={"at": self._now()})
        with self._timer.section("trace"):
            self._folder.append_event(event)
            if self._listener:
                self._listener(event)

    def progress(self, fraction: float, message: str) -> None:
        """Report progress, which never decreases, to the listener. Not recorded in the trace."""
        self._fraction = max(self._fraction, min(fraction, 1.0))
        if self._listener:
            self._listener(Progress(fraction=self._fraction, message=message, at=self._now()))

    def _now(self) -> float:
        return round(self._timer.total(), 3)
