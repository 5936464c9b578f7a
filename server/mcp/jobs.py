"""Jobs of tool calls: queued, run in a worker thread with progress, stopped on cancellation or timeout."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Literal, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from mcp.server.mcpserver import Context

from imaging.errors import Cancelled
from imaging.progress import ProgressToken
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
NEARLY = 99.0
"""Share of the progress for the work itself; the rest is for the response."""


class Status:
    """The progress of a job. The worker writes it, the event loop reads it."""

    def __init__(self, message: str) -> None:
        self._fraction = 0.0
        self._message = message
        self._news: deque[str] = deque()
        self._percent = 0.0
        self._reported = (-1.0, "")

    def progress(self, fraction: float) -> None:
        """Set the finished share, 0..1."""
        self._fraction = fraction

    def say(self, message: str) -> None:
        """Set the current activity."""
        self._message = message

    def news(self, message: str) -> None:
        """Add a message that must be delivered."""
        self._news.append(message)

    def next(self, *, repeat: bool) -> tuple[float, str] | None:
        """The next percentage and message; None if nothing is new, unless `repeat`.

        The protocol wants every percent larger than the one before, so it creeps where the work stands still.
        """
        fraction, message = self._fraction, self._message
        news = self._news.popleft() if self._news else None
        if news is None and (fraction, message) == self._reported and not repeat:
            return None
        self._reported = (fraction, message)
        self._percent = max(fraction * NEARLY, self._percent + (END - self._percent) * 1e-4)
        return self._percent, news or message


Kind = Literal["work", "look"]
"""Kinds of jobs: those that make pictures take minutes, those that measure take seconds."""


class Jobs:
    """The queues of one server. The machine has one set of cores or one GPU, so of each kind one job runs.

    A job that has run for `max_seconds` is stopped; the time in the queue does not count.
    """

    def __init__(self, max_seconds: float = MAX_SECONDS) -> None:
        self._max_seconds = max_seconds
        self._queues: dict[Kind, FairQueue] = {"work": FairQueue(), "look": FairQueue()}
        self._threads: dict[Kind, ThreadPoolExecutor] = {"work": _thread("work"), "look": _thread("look")}

    async def run(
        self, context: Context[Any, Any], what: str, work: Callable[[ProgressToken, Status], T], kind: Kind = "work"
    ) -> T:
        """Run `work` and return its result or raise its exception.

        When the caller gives up, the token is cancelled; the next job begins only after this one has really
        stopped. Raises `Busy` and `TooMuchAsked`.
        """
        status = Status(what)
        token = ProgressToken(status.progress)
        over, late = anyio.Event(), anyio.Event()
        place = self._queues[kind].enter(
            current_client() or _session(context),
            lambda position: status.say(f"{what}: busy, position {position}"),
        )
        async with anyio.create_task_group() as group:
            group.start_soon(_tell, context, status, token, over)
            async with place:
                status.say(what)
                group.start_soon(_stop_in_time, self._max_seconds, token, late, over)
                job = self._threads[kind].submit(copy_context().run, _outcome, work, token, status)
                outcome = await anyio.to_thread.run_sync(job.result)
            over.set()
        if late.is_set() and isinstance(outcome.exception(), Cancelled):
            raise TooMuchAsked(
                f"{what} was stopped after {self._max_seconds:g} s, the server's limit for one call",
                "ask for a smaller result or a faster profile, or start the server with a larger --max-seconds",
            )
        await anyio.lowlevel.checkpoint()  # a cancelled call gets no response
        await _tell_news(context, status)
        await context.report_progress(END, END, "done")
        return outcome.result()


async def _stop_in_time(seconds: float, token: ProgressToken, late: anyio.Event, over: anyio.Event) -> None:
    with anyio.move_on_after(seconds):
        await over.wait()
        return
    late.set()
    token.cancel()


def _session(context: Context[Any, Any]) -> str:
    """The owner of a call without a token: its session in the protocol of 2025."""
    headers = context.headers or {}
    return headers.get("mcp-session-id", "")


async def _tell(context: Context[Any, Any], status: Status, token: ProgressToken, over: anyio.Event) -> None:
    """Report progress until the job is over; being cancelled before that means that the caller has given up.

    Not cancelled when the job ends: news that was being sent would be lost.
    """
    silent = 0.0
    try:
        await _tell_news(context, status, repeat=True)
        while not over.is_set():
            with anyio.move_on_after(POLL_SECONDS):
                await over.wait()
            silent += POLL_SECONDS
            if await _tell_news(context, status, repeat=silent >= HEARTBEAT_SECONDS):
                silent = 0.0
    finally:
        token.cancel()


async def _tell_news(context: Context[Any, Any], status: Status, *, repeat: bool = False) -> bool:
    """Send the pending notifications, and return whether there were any; with `repeat` at least one is sent."""
    any_update = False
    while update := status.next(repeat=repeat and not any_update):
        await context.report_progress(update[0], END, update[1])
        any_update = True
    return any_update


def _outcome(work: Callable[[ProgressToken, Status], T], token: ProgressToken, status: Status) -> Future[T]:
    """Return the result or the exception as a value; a task group would wrap the exception."""
    outcome: Future[T] = Future()
    try:
        outcome.set_result(work(token, status))
    except Exception as error:  # re-raised for the caller
        outcome.set_exception(error)
    return outcome


def _thread(kind: Kind) -> ThreadPoolExecutor:
    """One thread for all jobs of a kind, because torch keeps caches and thread pools per thread."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"restore4k-{kind}", initializer=_step_back)


def _step_back() -> None:
    """Lower this thread's priority below that of the event loop, on systems with thread priorities (Linux)."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
