"""Actors of a Ray cluster, one per GPU or else per core; pictures are sent as bytes, no files are shared."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.batch.engines.dispatch import WorkerHandle
from agent.batch.engines.local import cpu_workers
from agent.batch.engines.work import BatchConfig, Outcome, Work
from agent.batch.engines.worker import THREAD_VARIABLES, Worker, use_threads
from agent.errors import BatchError, WorkerDied
from imaging.atomic import atomic_write
from imaging.disk import writing
from imaging.progress import ProgressToken
from imaging.reading import read_bytes

REPORT_SECONDS = 1.0
CALLS_AT_ONCE = 3
"""Concurrent calls of an actor: restore, fraction and stop."""
USAGE_VARIABLE = "RAY_USAGE_STATS_ENABLED"


class RayEngine:
    """A Ray cluster; without an address one is started on this machine for the batch.

    Raises `BatchError` if Ray is not installed, or the cluster cannot be reached or has no free resources.
    """

    def __init__(
        self,
        config: BatchConfig,
        *,
        workers: int | None = None,
        threads: int | None = None,
        address: str | None = None,
        memory: float | None = None,
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise BatchError("Ray is not installed", "pip install 'restore4k[ray]', or omit --engine ray") from error
        self._ray: Any = ray
        self._threads = threads or 1
        self._connect(address, workers)
        resources = self._ray.cluster_resources()
        self._cards = int(resources.get("GPU", 0))
        self.capacity = workers or self._cards or int(resources.get("CPU", 0)) // self._threads
        if self.capacity < 1:
            raise BatchError(f"the Ray cluster has no GPU and no {self._threads} cores", "start one with some")
        self._config = replace(config, memory=memory and max(0.1, memory / self.capacity))

    def start_worker(self, number: int) -> ActorHandle:
        """Start an actor."""
        variables = dict.fromkeys(THREAD_VARIABLES, str(self._threads))
        actor = self._ray.remote(Actor).options(
            num_cpus=self._threads,
            num_gpus=1 if self._cards else 0,
            max_concurrency=CALLS_AT_ONCE,
            max_restarts=0,
            runtime_env={"env_vars": variables},
        )
        return ActorHandle(self._ray, number, actor.remote(self._config, self._threads), self._config)

    def ready(self, handles: Sequence[WorkerHandle], seconds: float) -> Sequence[WorkerHandle]:
        """Wait for actors with an outcome or progress."""
        by_answer = {
            answer: handle for handle in handles if isinstance(handle, ActorHandle) for answer in handle.pending()
        }
        answers, _ = self._ray.wait(list(by_answer), num_returns=1, timeout=seconds)
        return [by_answer[answer] for answer in answers]

    def close(self) -> None:
        """Disconnect from the cluster."""
        self._ray.shutdown()

    def _connect(self, address: str | None, workers: int | None) -> None:
        os.environ.setdefault(USAGE_VARIABLE, "0")  # no usage statistics
        options: dict[str, Any] = {"include_dashboard": False, "num_cpus": self._threads * (workers or cpu_workers())}
        try:
            with _sigterm_handler_kept():
                self._ray.init(
                    address or "local", log_to_driver=False, logging_level="ERROR", **({} if address else options)
                )
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = address or "this machine"
            raise BatchError(f"Ray at {where} does not answer: {error}", "check it with: ray status") from error


class ActorHandle:
    """A handle of an actor."""

    def __init__(self, ray: Any, number: int, actor: Any, config: BatchConfig) -> None:
        self.number = number
        self._ray, self._actor, self._config = ray, actor, config
        self._result: Any = None
        self._progress: Any = None

    def submit(self, work: Work) -> None:
        """Send a picture."""
        data = read_bytes(work.picture.file, self._config.request.limits)
        self._result = self._actor.restore.remote(work, data)
        # One progress call at a time, because each occupies a thread of the actor.
        self._progress = self._progress or self._actor.fraction.remote()

    def pending(self) -> tuple[Any, Any]:
        """References to the pending result and progress."""
        return self._result, self._progress

    def poll(self) -> Outcome | float | None:
        """The outcome, once its result is written; before that, the progress."""
        try:
            if self._ray.wait([self._result], timeout=0)[0]:
                outcome, data = self._ray.get(self._result)
                return _stored(outcome, data)
            fraction: float = self._ray.get(self._progress)
            self._progress = self._actor.fraction.remote()
            return fraction
        except self._ray.exceptions.RayError as error:
            raise WorkerDied(f"the Ray actor died: {' '.join(str(error).split())[:300]}") from error

    def stop(self) -> None:
        """Cancel the picture."""
        self._actor.stop.remote()

    def close(self) -> None:
        """Kill the actor."""
        self._ray.kill(self._actor)


class Actor:
    """A worker on a machine of the cluster. Its methods run concurrently in threads."""

    def __init__(self, config: BatchConfig, threads: int) -> None:
        use_threads(threads)
        self._worker = Worker(replace(config, scratch=None))
        self._token = ProgressToken()
        self._fraction = 0.0

    def restore(self, work: Work, data: bytes) -> tuple[Outcome, bytes]:
        """Restore a picture; returns the outcome and the bytes of the result."""
        self._fraction = 0.0
        with TemporaryDirectory(prefix="restore4k-") as folder:
            there, result = work.picture.file, Path(folder) / f"result{work.result.suffix}"
            file = Path(folder) / there.name
            file.write_bytes(data)
            here = replace(work, picture=replace(work.picture, file=file), result=result)
            outcome = self._worker.restore(here, self._token, self._set_fraction)
            output = result.read_bytes() if outcome.figures else b""
            return replace(outcome, work=work, reason=outcome.reason.replace(str(file), str(there))), output

    def fraction(self) -> float:
        """The finished share, returned after a delay to limit the rate of calls."""
        time.sleep(REPORT_SECONDS)
        return self._fraction

    def stop(self) -> None:
        """Cancel the current picture."""
        self._token.cancel()

    def _set_fraction(self, fraction: float) -> None:
        self._fraction = fraction


def _stored(outcome: Outcome, data: bytes) -> Outcome:
    if outcome.figures:
        file = outcome.work.result
        with writing(file), atomic_write(file, sync=True) as temporary:
            temporary.write_bytes(data)
    return outcome


@contextmanager
def _sigterm_handler_kept() -> Iterator[None]:
    """Restore the SIGTERM handler, which Ray replaces inside the block."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
