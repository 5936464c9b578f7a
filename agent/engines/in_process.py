"""This process itself: one picture after another with the models that are warm here already."""

from __future__ import annotations

from collections.abc import Sequence
from queue import Empty, Queue
from threading import Thread

from agent.engines.dispatch import Seat
from agent.engines.work import Outcome, Work
from agent.engines.worker import Worker
from imaging.control import Control


class InProcessEngine:
    """One seat; its work is done in a thread, so that its progress can be told."""

    seats = 1

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def open_seat(self, number: int) -> ThreadSeat:
        """The seat."""
        return ThreadSeat(self._worker)

    def ready(self, seats: Sequence[Seat], seconds: float) -> Sequence[Seat]:
        """The seat, where it has something to say."""
        return [seat for seat in seats if isinstance(seat, ThreadSeat) and seat.listen(seconds)]

    def close(self) -> None:
        """There is nothing to let go of."""


class ThreadSeat:
    """A thread for each picture."""

    number = 0

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._control = Control()
        self._said: Queue[Outcome | float] = Queue()
        self._next: Outcome | float | None = None
        self._thread = Thread()

    def give(self, work: Work) -> None:
        """Let it begin."""
        self._thread = Thread(target=self._restore, args=(work,), daemon=True)
        self._thread.start()

    def listen(self, seconds: float) -> bool:
        """Whether there is something to hear."""
        try:
            self._next = self._said.get(timeout=seconds)
        except Empty:
            return False
        return True

    def hear(self) -> Outcome | float | None:
        """What has been heard last."""
        said, self._next = self._next, None
        return said

    def stop(self) -> None:
        """Ask for it."""
        self._control.cancel()

    def close(self) -> None:
        """A thread cannot be ended: ask for it, and wait until it has really stopped."""
        self._control.cancel()
        if self._thread.is_alive():
            self._thread.join()

    def _restore(self, work: Work) -> None:
        self._said.put(self._worker.restore(work, self._control, self._said.put))
