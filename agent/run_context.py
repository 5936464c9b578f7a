"""The context of a run: its search state, recorded on disk, and the listener to its events.

The run on disk is consistent at every moment and at most one step behind.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from agent.events import Asked, Event, Listener, Progress, Started, Warned
from agent.reasoners.reasoner import Reasoner
from agent.report.page import write_report
from agent.run_folder import RunFolder
from agent.search.search_state import SearchState
from agent.state import ModelCall, RunState
from agent.timer import Timer
from imaging.image import Image
from imaging.pixels import is_in_file
from imaging.preparing import as_stored
from imaging.progress import ProgressToken
from toolbox.pool import ExpertPool


class RunContext(SearchState):
    """An active run. Its folder contains all that is needed to resume it."""

    def __init__(
        self,
        state: RunState,
        folder: RunFolder,
        timer: Timer,
        token: ProgressToken,
        listener: Listener | None,
        experts: ExpertPool,
        reasoner: Reasoner,
    ) -> None:
        self.folder = folder
        self.token = token
        self.writer = RunWriter(folder, timer)
        self._listener = listener or (lambda _: None)
        self._fraction = 0.0
        super().__init__(state, experts, self.writer.load_image, timer, self._record, reasoner.bind(self, token))

    def start(self, image: Image | None = None) -> None:
        """Store the input, so that the run can be resumed without its source; without `image`, resume the run."""
        if image is not None:
            self.move_to(self.node, self.writer.store_image(0, image))
            self.save()
            self.writer.flush()
        self.tell(
            Started(
                run=self.state.id,
                source=self.state.source,
                profile=self.state.profile.name,
                width=self.image.width,
                height=self.image.height,
                resumed=image is None,
            )
        )

    def save(self) -> None:
        """Write the state to disk."""
        self.change(seconds=self.timer.seconds())
        self.writer.save_state(self.state)

    def write_report(self) -> None:
        """Write the report of the run so far, after all its pictures are on disk."""
        self.writer.flush()
        with self.timer.section("trace"):
            write_report(self.state, self.folder.path)

    def warn(self, message: str) -> None:
        """Warn the user; the warning is kept in the state."""
        self.change(warnings=(*self.state.warnings, message))
        self.tell(Warned(message=message))

    def record_call(self, call: ModelCall) -> None:
        """Record a call of a language model in the trace, and its cost in the state."""
        self.change(model_use=self.state.model_use.plus(call))
        self.tell(Asked(call=call))

    def progress(self, fraction: float, message: str) -> None:
        """Report progress, which never decreases, to the listener. Not recorded in the trace."""
        self._fraction = max(self._fraction, min(fraction, 1.0))
        self._listener(Progress(fraction=self._fraction, message=message, at=self._now()))

    def _record(self, event: Event) -> None:
        """Append an event to the trace and pass it to the listener."""
        event = event.model_copy(update={"at": self._now()})
        with self.timer.section("trace"):
            self.folder.append_event(event)
            self._listener(event)

    def _now(self) -> float:
        """Seconds since the run began."""
        return round(self.timer.total(), 3)


class RunWriter:
    """Writes the images and states of a run in a separate thread."""

    def __init__(self, folder: RunFolder, timer: Timer) -> None:
        self._folder = folder
        self._timer = timer
        self._thread = ThreadPoolExecutor(1, "restore4k-trace")
        self._pending: list[Future[object]] = []
        self._broken = False

    def save_state(self, state: RunState) -> None:
        """Replace the state on disk."""
        with self._timer.section("trace"):
            self._write(partial(self._folder.save_state, state))

    def store_image(self, node: int, image: Image, thumbnail: str = "") -> Image:
        """Save a node's image and thumbnail; returns the image rounded to 16 bit, as it is on disk.

        `thumbnail`: the name of the thumbnail that the image had as a candidate.

        A resumed run reads it, so it continues with the same pixels as an uninterrupted run.
        """
        with self._timer.section("trace"):
            stored = as_stored(image)
            self.flush()  # at most one image waits for the disk
            self._write(partial(self._folder.save_image, node, stored))
            self._write(partial(self._folder.save_thumbnail, str(node), stored, thumbnail))
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

    def _write(self, write: Callable[[], object]) -> None:
        self._pending.append(self._thread.submit(self._write_now, write))

    def _write_now(self, write: Callable[[], object]) -> None:
        """Skip all writes after a failed one, so that a state on disk refers only to images that exist."""
        if not self._broken:
            self._broken = True
            write()
            self._broken = False
