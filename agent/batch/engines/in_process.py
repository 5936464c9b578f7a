"""This process itself: one picture after another with the models that are warm here already."""

from __future__ import annotations

from collections.abc import Sequence
from queue import Empty, Queue
from threading import Thread

from agent.batch.engines.dispatch import WorkerHandle
from agent.batch.engines.work import Outcome, Work
from agent.batch.engines.worker import Worker
from imaging.progress import ProgressToken


class InProcessEngine:
    """One worker; its work is done in a thread, so that its progress can be told."""

    capacity = 1

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def start_worker(self, number: int) -> ThreadHandle:
        """The worker."""
        return ThreadHandle(self._worker)

    def ready(self, handles: Sequence[WorkerHandle], seconds: float) -> Sequence[WorkerHandle]:
        """The worker, where it has something to say."""
        return [handle for handle in handles if isinstance(handle, ThreadHandle) and handle.listen(seconds)]

    def close(self) -> None:
        """There is nothing to let go of."""


class ThreadHandle:
    """A thread for each picture."""

    number = 0

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._token = ProgressToken()
        self._updates: Queue[Outcome | float] = Queue()
        self._next: Outcome | float | None = None
        self._thread = Thread()

    def submit(self, work: Work) -> None:
        """Let it begin."""
        self._thread = Thread(target=self._restore, args=(work,), daemon=True)
        self._thread.start()

    def listen(self, seconds: float) -> bool:
        """Whether there is something to hear."""
        try:
            self._next = self._updates.get(timeout=seconds)
        except Empty:
            return False
        return True

    def poll(self) -> Outcome | float | None:
        """What has been heard last."""
        update, self._next = self._next, None
        return update

    def stop(self) -> None:
        """Ask for it."""
        self._token.cancel()

    def close(self) -> None:
        """A thread cannot be ended: ask for it, and wait until it has really stopped."""
        self._token.cancel()
        if self._thread.is_alive():
            self._thread.join()

    def _restore(self, work: Work) -> None:
        self._updates.put(self._worker.restore(work, self._token, self._updates.put))
