"""Worker processes on this machine: one per GPU, otherwise one per core as memory allows."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from dataclasses import replace
from multiprocessing.connection import Connection, wait

from agent.batch.engines.dispatch import WorkerHandle
from agent.batch.engines.work import BatchConfig, Outcome, Work
from agent.batch.engines.worker import THREAD_VARIABLES, Worker, use_threads
from agent.errors import WorkerDied
from imaging.device import DEVICE_VARIABLE, devices, system_memory
from imaging.pixels import GIGABYTE, memory_budget
from imaging.progress import ProgressToken

WORKER_BYTES = 3 << 30
"""Memory of a worker whose results have a long side of 4096 pixels."""
DRIVERS = ("cuda", "nvcuda", "amdhip64")
"""GPU driver libraries; without one of them no GPU can be used."""
REPORT_SECONDS = 0.5
JOIN_SECONDS = 5.0


class LocalEngine:
    """Worker processes, each with its own models; they share `memory` gigabytes, by default the memory budget."""

    def __init__(
        self,
        config: BatchConfig,
        *,
        workers: int | None = None,
        threads: int | None = None,
        memory: float | None = None,
    ) -> None:
        self._cards = graphics_cards()
        self.capacity = workers or len(self._cards) or cpu_workers()
        # one thread without GPUs, so that results do not depend on the number of cores
        self._threads = threads or (max(1, _cores() // len(self._cards)) if self._cards else 1)
        budget = memory or memory_budget() / GIGABYTE
        self._config = replace(config, memory=max(0.1, budget / self.capacity))

    def start_worker(self, number: int) -> ProcessHandle:
        """Start a process."""
        variables = dict.fromkeys(THREAD_VARIABLES, str(self._threads))
        if self._cards:
            variables[DEVICE_VARIABLE] = self._cards[number % len(self._cards)]
        return ProcessHandle(number, self._config, self._threads, variables)

    def ready(self, handles: Sequence[WorkerHandle], seconds: float) -> Sequence[WorkerHandle]:
        """Wait for processes that sent a message or died."""
        ours = [handle for handle in handles if isinstance(handle, ProcessHandle)]
        by_connection: dict[object, WorkerHandle] = {handle.connection: handle for handle in ours}
        return [by_connection[one] for one in wait([handle.connection for handle in ours], seconds)]

    def close(self) -> None:
        """Nothing to release."""


class ProcessHandle:
    """A handle of a worker process."""

    def __init__(self, number: int, config: BatchConfig, threads: int, variables: Mapping[str, str]) -> None:
        self.number = number
        context = multiprocessing.get_context("spawn")  # torch may hang after a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, config, threads), daemon=True)
        with _environment(variables):
            self.process.start()
        theirs.close()

    def submit(self, work: Work) -> None:
        """Send a picture; `poll` reports if the process is dead."""
        with suppress(OSError):
            self.connection.send(work)

    def poll(self) -> Outcome | float | None:
        """Receive a message."""
        try:
            update: Outcome | float = self.connection.recv()
        except (EOFError, OSError) as error:
            self.process.join(JOIN_SECONDS)
            raise WorkerDied(f"the worker {_end(self.process.exitcode)}") from error
        return update

    def stop(self) -> None:
        """Send SIGTERM, which cancels the picture."""
        self.process.terminate()

    def close(self) -> None:
        """Kill the process."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def graphics_cards() -> tuple[str, ...]:
    """torch's names of the GPUs, or the device of RESTORE4K_DEVICE if it is set; empty without a GPU."""
    if wanted := os.environ.get(DEVICE_VARIABLE):
        return () if wanted == "cpu" else (wanted,)
    if sys.platform != "darwin" and not any(map(find_library, DRIVERS)):
        return ()  # without importing torch
    return tuple(str(device) for device in devices() if device.type != "cpu")


def cpu_workers() -> int:
    """One worker per core, limited by memory."""
    return max(1, min(_cores(), (system_memory() or WORKER_BYTES) // WORKER_BYTES))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve(connection: Connection, config: BatchConfig, threads: int) -> None:
    """Run a worker process."""
    os.dup2(2, 1)  # stdout is for the command's result
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent sends SIGTERM
    token = ProgressToken()
    signal.signal(signal.SIGTERM, lambda *_: token.cancel())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    use_threads(threads)
    worker = Worker(config)
    while True:
        try:
            work = connection.recv()
        except EOFError:
            return
        connection.send(worker.restore(work, token, _throttled(connection.send)))


def _end_with_parent() -> None:
    """Exit when the parent process has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _throttled(report: Callable[[float], None]) -> Callable[[float], None]:
    sent_at = time.monotonic()

    def maybe(fraction: float) -> None:
        nonlocal sent_at
        if time.monotonic() - sent_at >= REPORT_SECONDS:
            sent_at = time.monotonic()
            report(fraction)

    return maybe


def _end(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    names = {one.value: one.name for one in signal.Signals}
    why = ", perhaps because memory was short" if -code == signal.SIGKILL else ""
    return f"was ended by {names.get(-code, f'signal {-code}')}{why}"


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
