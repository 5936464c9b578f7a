"""Where the events of a run go: to the trace on disk, and to a listener."""

from __future__ import annotations

from agent.events import Event, Listener, Progress
from agent.run_folder import RunFolder
from agent.timer import Timer


class EventLog:
    """The events of one run, each stamped with the seconds since the run began."""

    def __init__(self, folder: RunFolder, timer: Timer, listener: Listener | None) -> None:
        self._folder = folder
        self._timer = timer
        self._listener = listener
        self._fraction = 0.0

    def tell(self, event: Event) -> None:
        """Append an event to the trace and pass it to the listener."""
        event = event.model_copy(update={"at": self._now()})
        with self._timer.section("trace"):
            self._folder.append_event(event)
            if self._listener:
                self._listener(event)

    def progress(self, fraction: float, message: str) -> None:
        """Tell the listener how much is done, which never decreases. Not kept in the trace."""
        self._fraction = max(self._fraction, min(fraction, 1.0))
        if self._listener:
            self._listener(Progress(fraction=self._fraction, message=message, at=self._now()))

    def _now(self) -> float:
        return round(self._timer.total(), 3)
