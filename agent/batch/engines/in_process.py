"""An engine in this process: one picture at a time, with the models that are already loaded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread

from agent.batch.engines.dispatch import POLL_SECONDS, WorkerHandle
from agent.batch.engines.work import Outcome, Work
from agent.batch.engines.worker import Worker
from imaging.progress import ProgressToken


class InProcessEngine:
    """One worker, which runs in a thread so that its progress can be reported."""

    capacity = 1

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def start_worker(self, number: int) -> ThreadHandle:
        """The worker's handle."""
        return ThreadHandle(self._worker)

    def ready(self, handles: Sequence[WorkerHandle], seconds: float) -> Sequence[WorkerHandle]:
        """The worker, whose `poll` waits for an update."""
        return handles

    def close(self) -> None:
        """Nothing to release."""


class ThreadHandle:
    """A handle that starts a thread for each picture."""

    number = 0

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._token = ProgressToken()
        self._updates: Queue[Outcome | float] = Queue()
        self._thread = Thread()

    def submit(self, work: Work) -> None:
        """Start a picture."""
        self._thread = Thread(target=self._restore, args=(work,), daemon=True)
        self._thread.start()

    def poll(self) -> Outcome | float | None:
        """The next update; None if there is none within `POLL_SECONDS`."""
        with suppress(Empty):
            return self._updates.get(timeout=POLL_SECONDS)
        return None

    def stop(self) -> None:
        """Cancel the picture."""
        self._token.cancel()

    def close(self) -> None:
        """Cancel the picture and wait for its thread, which cannot be killed."""
        self._token.cancel()
        if self._thread.is_alive():
            self._thread.join()

    def _restore(self, work: Work) -> None:
        self._updates.put(self._worker.restore(work, self._token, self._updates.put))
