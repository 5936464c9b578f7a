"""Jobs of tool calls: queued, run in a worker thread with progress, stopped on cancellation or timeout."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from mcp.server.mcpserver import Context

from imaging.errors import Cancelled
from imaging.progress import ProgressToken
from imaging.text import printable
from server.auth.clients import current_client
from server.errors import TooMuchAsked
from server.mcp.fair_queue import FairQueue

T = TypeVar("T")

POLL_SECONDS = 0.2
HEARTBEAT_SECONDS = 2.0
"""Longest time between two progress notifications; clients time out silent calls after about a minute."""
END = 100.0
MAX_SECONDS = 3600.0
NICENESS = 10
"""Nice value of the worker threads relative to that of the event loop."""
WORK_PERCENT = 99.0
"""Share of the progress for the work itself; the rest is for the response."""


@dataclass(eq=False, slots=True)
class Status:
    """The progress of a job. The worker writes it, the event loop reads it."""

    message: str
    """The current activity."""
    fraction: float = 0.0
    """The finished share, 0..1."""
    position: int = 0
    """The place in the queue, 1 being next; 0 while it runs."""
    milestones: list[str] = field(default_factory=list)
    """Findings, plan, finished steps and warnings so far."""
    messages: list[str] = field(default_factory=list)
    """Everything that is worth a notification, in order; each is delivered."""

    def progress(self, fraction: float) -> None:
        """Set the finished share, 0..1."""
        self.fraction = fraction

    def notify(self, message: str) -> None:
        """Add a message that must be delivered."""
        self.messages.append(message)

    def milestone(self, message: str) -> None:
        """Add a message that is also part of a reply about the unfinished job."""
        self.milestones.append(message)
        self.messages.append(message)


class _Feed:
    """The notifications of a job to one of its callers."""

    def __init__(self, context: Context[Any, Any], status: Status) -> None:
        self._context, self._status = context, status
        self._read = 0
        self._percent = 0.0
        self._reported = (-1.0, "")

    async def send(self, *, repeat: bool = False) -> bool:
        """Send what is new, and return whether there was anything; with `repeat`, send at least one notification.

        The protocol requires increasing percentages, so they creep up while the work makes no progress.
        """
        is_sent, status = False, self._status
        while True:
            fraction, message = current = status.fraction, status.message
            news = status.messages[self._read : self._read + 1]
            if not news and current == self._reported and (is_sent or not repeat):
                return is_sent
            self._read += len(news)
            self._reported = current
            self._percent = max(fraction * WORK_PERCENT, self._percent + (END - self._percent) * 1e-4)
            await self._context.report_progress(self._percent, END, printable(news[0] if news else message))
            is_sent = True


Kind = Literal["work", "look"]
"""Kinds of jobs: those that make pictures take minutes, those that measure take seconds."""
Work: TypeAlias = Callable[[ProgressToken, Status], T]


class Jobs:
    """The queues of one server. The machine has one set of cores or one GPU, so one job of each kind runs at a time.

    A job that has run for `max_seconds` is stopped; the time in the queue does not count.
    """

    def __init__(self, max_seconds: float = MAX_SECONDS) -> None:
        self._max_seconds = max_seconds
        self._queues: dict[Kind, FairQueue] = {"work": FairQueue(), "look": FairQueue()}
        self._threads: dict[Kind, ThreadPoolExecutor] = {"work": _thread("work"), "look": _thread("look")}
        self._has_begun = False

    def begin_with(self, load: Callable[[], object]) -> None:
        """Run `load` before the first job of any kind, which waits for it; do nothing if a job has begun already.

        An error of `load` is ignored, because the jobs will raise it again.
        """
        if not self._has_begun:
            loaded = self._threads["work"].submit(load)
            self._threads["look"].submit(loaded.exception)

    async def run(self, context: Context[Any, Any], what: str, work: Work[T], kind: Kind = "look") -> T:
        """Do `work` as a part of the call, report progress, and return its result or raise its exception.

        When the caller gives up, the token is cancelled; the next job begins only after this one has really
        stopped. Raises `Busy` and `TooMuchAsked`.
        """
        status, over = Status(what), anyio.Event()
        token = ProgressToken(status.progress)
        outcome: Future[T] = Future()

        async def report() -> None:
            try:
                await follow(context, status, over)
            finally:
                token.cancel()  # before the end it means that the caller has given up

        async with anyio.create_task_group() as group:
            group.start_soon(report)
            try:
                outcome.set_result(await self.perform(owner_of(context), what, work, status, token, kind))
            except Exception as error:  # raised below; a task group would wrap it
                outcome.set_exception(error)
            over.set()
        await anyio.lowlevel.checkpoint()  # a cancelled call gets no response
        return outcome.result()

    async def perform(
        self, owner: str, what: str, work: Work[T], status: Status, token: ProgressToken, kind: Kind = "work"
    ) -> T:
        """Queue, then do `work` in the thread of its kind. Raises its errors, `Busy` and `TooMuchAsked`."""
        late = False

        def stop() -> None:
            nonlocal late
            late = True
            token.cancel()

        def moved(position: int) -> None:
            status.position = position
            status.message = f"{what}: busy, position {position}"

        try:
            async with self._queues[kind].enter(owner, moved):
                status.position = 0
                status.message = what
                timer = asyncio.get_running_loop().call_later(self._max_seconds, stop)
                try:
                    self._has_begun = True
                    job = self._threads[kind].submit(copy_context().run, work, token, status)
                    return await anyio.to_thread.run_sync(job.result)
                except Cancelled as error:
                    if late:
                        raise TooMuchAsked(
                            f"{what} was stopped after {self._max_seconds:g} s, the server's limit for one call",
                            "ask for a smaller result or a faster profile, or start the server with a larger "
                            "--max-seconds",
                        ) from error
                    raise
                finally:
                    timer.cancel()
        finally:
            token.cancel()  # also if this task was cancelled, as when the server stops


def owner_of(context: Context[Any, Any]) -> str:
    """The owner of a call in the queue: the client, or without a token its session in the protocol of 2025."""
    headers = context.headers or {}
    return current_client() or headers.get("mcp-session-id", "")


async def follow(context: Context[Any, Any], status: Status, over: anyio.Event) -> None:
    """Report the progress of a job to one caller until it is over.

    Not cancelled when the job ends, since a notification that is being sent would be lost.
    """
    feed, silent = _Feed(context, status), 0.0
    await feed.send(repeat=True)
    while not over.is_set():
        with anyio.move_on_after(POLL_SECONDS):
            await over.wait()
        silent += POLL_SECONDS
        if await feed.send(repeat=silent >= HEARTBEAT_SECONDS):
            silent = 0.0
    await feed.send()
    await context.report_progress(END, END, "done")


def _thread(kind: Kind) -> ThreadPoolExecutor:
    """One thread for all jobs of a kind, because torch keeps caches and thread pools per thread."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"restore4k-{kind}", initializer=_lower_priority)


def _lower_priority() -> None:
    """Lower this thread's priority below that of the event loop, on systems with thread priorities (Linux)."""
    if sys.platform == "linux":
        with suppress(OSError):
            nice = os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICENESS  # the system clamps it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
