"""Runs: work that continues after its call has returned, so that clients with short timeouts lose nothing.

A call with the same arguments and the same picture joins the run instead of starting another one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anyio
import anyio.to_thread
from anyio.lowlevel import EventLoopToken, current_token
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import PrivateAttr

from imaging.errors import Cancelled
from imaging.progress import ProgressToken
from server.auth.clients import current_client
from server.mcp.jobs import Jobs, Status, follow, owner_of
from server.mcp.responses import fact, picture_response

SHOWN_MILESTONES = 8
MOST_KEPT = 32
"""Finished runs of one client that are remembered; the results of restorations are also on disk."""
State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a finished run, and the file that it is about."""

    result: CallToolResult
    file: str | None = None
    is_reusable: bool = True
    """False if a repeated call must do the work again, as for a folder."""

    @property
    def can_be_reused(self) -> bool:
        """Whether a repeated call may get this reply: its file still exists."""
        return self.is_reusable and (self.file is None or Path(self.file).exists())


@dataclass(eq=False, slots=True)
class Run:
    """One piece of work."""

    id: str
    tool: str
    photo: str
    key: str
    status: Status
    token: ProgressToken
    over: anyio.Event = field(default_factory=anyio.Event)
    loop: EventLoopToken = field(default_factory=current_token)
    """The event loop of the server, for the thread that does the work."""
    reply: Reply | None = None
    error: Exception | None = None
    task: asyncio.Task[None] | None = None
    is_stopping: bool = False
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None

    @property
    def state(self) -> State:
        """The state of the run."""
        if self.error is not None:
            return "cancelled" if isinstance(self.error, Cancelled) else "failed"
        if self.reply is not None:
            return "done"
        return "queued" if self.status.position else "running"

    @property
    def seconds(self) -> float:
        """Seconds since the run was requested."""
        return ((self.ended or datetime.now(UTC)) - self.begun).total_seconds()


class RunUnderWay(CallToolResult):
    """The reply about a run that has not ended."""

    _run: Run = PrivateAttr()

    @classmethod
    def of(cls, run: Run, joined: bool = False) -> RunUnderWay:
        """The state of a run, and what to do next; `joined`: it was under way before the call."""
        status = run.status
        state = f"queued, position {status.position}" if status.position else f"running for {run.seconds:.0f} s"
        reply = picture_response(
            [
                fact("state", state),
                fact("run", run.id),
                fact("doing", status.message) if not status.position else "",
                *status.milestones[-SHOWN_MILESTONES:],
                fact("joined", "this call found the same one under way") if joined else "",
                fact("next", f'get_run("{run.id}") waits for the result, as the same call does; cancel_run stops it'),
            ]
        )
        response = cls(content=reply.content)
        response._run = run
        return response

    @property
    def run(self) -> Run:
        """The run."""
        return self._run


class Runs:
    """The runs of all clients; each sees its own."""

    def __init__(self, jobs: Jobs, wait_seconds: float) -> None:
        self._jobs, self._wait_seconds = jobs, wait_seconds
        self._runs: dict[str, dict[str, Run]] = {}

    async def begin(
        self, context: Context[Any, Any], tool: str, photo: str, key: str, work: Callable[[Run], Reply], run: str
    ) -> tuple[Run, bool]:
        """The client's run with that key, or a new one with the identifier `run`; and whether it existed."""
        ended = [(known, known.reply) for known in self.all() if known.key == key and known.reply]
        lost = await anyio.to_thread.run_sync(lambda: [run for run, reply in ended if not reply.can_be_reused])
        for known in reversed(self.all()):
            if known.key == key and known not in lost and known.error is None and not known.is_stopping:
                return known, True
        status = Status(tool)
        begun = Run(run, tool, photo, key, status, ProgressToken(status.progress))
        own = self._own()
        own[run] = begun
        for old in [one for one in own.values() if one.over.is_set()][:-MOST_KEPT]:
            del own[old.id]
        begun.task = asyncio.create_task(self._perform(owner_of(context), begun, work))
        return begun, False

    def all(self) -> list[Run]:
        """The calling client's runs, the oldest first."""
        return list(self._own().values())

    def find(self, run: str) -> Run | None:
        """The calling client's run with that identifier."""
        return self._own().get(run)

    async def wait(self, context: Context[Any, Any], run: Run, seconds: float | None) -> CallToolResult | None:
        """Wait for a run and report its progress; its result, or None if it takes longer. Raises its error."""
        with anyio.move_on_after(self._wait_seconds if seconds is None else seconds):
            await follow(context, run.status, run.over)
        if run.error is not None:
            raise run.error
        return run.reply.result if run.reply else None

    async def cancel(self, run: Run) -> None:
        """Stop a run, and wait until it has stopped."""
        run.is_stopping = True
        run.token.cancel()
        if run.status.position and run.task:
            run.task.cancel()
        await run.over.wait()

    async def stop(self) -> None:
        """Stop all runs of all clients, and wait until they have stopped."""
        running = [run for own in self._runs.values() for run in own.values() if not run.over.is_set()]
        for run in running:
            run.token.cancel()
        for run in running:
            await run.over.wait()

    def _own(self) -> dict[str, Run]:
        return self._runs.setdefault(current_client(), {})

    async def _perform(self, owner: str, run: Run, work: Callable[[Run], Reply]) -> None:
        try:
            run.reply = await self._jobs.perform(owner, run.tool, lambda *_: work(run), run.status, run.token)
        except asyncio.CancelledError:
            run.error = Cancelled()
        except Exception as error:  # raised in `wait`
            run.error = error
        finally:
            run.ended = datetime.now(UTC)
            run.over.set()


def new_id(key: str) -> str:
    """An identifier that contains the key, so that the run is found again after a restart of the server."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{key}"


def key_of(tool: str, arguments: Mapping[str, Any]) -> str:
    """The key of all calls with these arguments: 128 bits of a SHA-256, in hexadecimal."""
    text = json.dumps([tool, arguments], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
