"""Progress while a job runs, and that giving it up really stops it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import anyio
import anyio.to_thread
import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from imaging.errors import Cancelled, RestoreError
from imaging.progress import ProgressToken
from server.mcp import jobs
from server.mcp.jobs import Jobs, Status

pytestmark = pytest.mark.anyio
Work = Callable[[ProgressToken, Status], str]
PATIENCE_SECONDS = 60


def until_cancelled(token: ProgressToken) -> NoReturn:
    """Work that ends by its cancellation only."""
    while True:
        token.check()
        time.sleep(0.01)


def server_doing(work: Work) -> MCPServer[Any]:
    """A server whose one tool runs `work` as a job."""
    server: MCPServer[Any] = MCPServer("test")
    queue = Jobs()

    @server.tool()
    async def job(context: Context[Any, Any]) -> str:
        return await queue.run(context, "job", work)

    return server


class Listener:
    """Keeps the progress messages; jobs wait for them in their threads."""

    heard = threading.Condition()
    """Of all listeners."""

    def __init__(self) -> None:
        self.messages: list[tuple[float, str]] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        with self.heard:
            self.messages.append((progress, message or ""))
            self.heard.notify_all()

    def has(self, part: str) -> bool:
        return any(part in message for _, message in self.messages)


def wait_until(heard: Callable[[], bool]) -> None:
    with Listener.heard:
        assert Listener.heard.wait_for(heard, PATIENCE_SECONDS)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_progress_increases_and_no_news_is_lost(mode: str) -> None:
    def work(token: ProgressToken, status: Status) -> str:
        for step in range(0, 4, 2):  # two at a time: both must be delivered
            token.report(step / 4)
            status.notify(f"step {step}")
            status.notify(f"step {step + 1}")
            wait_until(partial(listener.has, f"step {step + 1}"))
        return "result"

    listener = Listener()
    async with Client(server_doing(work), mode=mode) as client:
        result = await client.call_tool("job", {}, progress_callback=listener)
    assert result.structured_content == {"result": "result"}
    values = [progress for progress, _ in listener.messages]
    assert values == sorted(set(values))
    assert values[-1] <= jobs.END
    steps = [message for _, message in listener.messages if message.startswith("step")]
    assert steps == [f"step {step}" for step in range(4)]


async def test_a_silent_job_still_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "HEARTBEAT_SECONDS", 0.3)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.05)

    def work(token: ProgressToken, status: Status) -> str:
        wait_until(lambda: len(listener.messages) >= 4)
        return ""

    listener = Listener()
    async with Client(server_doing(work)) as client:
        await client.call_tool("job", {}, progress_callback=listener)
    values = [progress for progress, _ in listener.messages]
    assert len(values) >= 4
    assert values == sorted(set(values))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_giving_up_a_call_cancels_its_job_and_the_next_one_waits_for_its_end(mode: str) -> None:
    log: list[str] = []

    def work(token: ProgressToken, status: Status) -> str:
        if log:
            log.append("second begins")
            return "second"
        log.append("first begins")
        status.notify("working")
        try:
            until_cancelled(token)
        except Cancelled:
            asked_again.wait(0.3)  # not until then: a client may wait for the end of the job that it gives up
            log.append("first ends")
            raise

    asked_again = threading.Event()

    async with Client(server_doing(work), mode=mode) as client:
        with anyio.move_on_after(10) as scope:

            async def give_up(progress: float, total: float | None, message: str | None) -> None:
                if log:
                    scope.cancel()

            await client.call_tool("job", {}, progress_callback=give_up)
        assert scope.cancelled_caught
        with anyio.fail_after(5):
            asked_again.set()
            result = await client.call_tool("job", {})
    assert result.structured_content == {"result": "second"}
    assert log == ["first begins", "first ends", "second begins"]


async def test_one_job_runs_at_a_time_and_the_other_reports_that_it_waits() -> None:
    running: list[int] = []
    most = 0

    def work(token: ProgressToken, status: Status) -> str:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        wait_until(lambda: any(listener.has("busy, position 1") for listener in listeners))
        running.pop()
        return ""

    listeners = [Listener(), Listener()]
    async with Client(server_doing(work)) as client, anyio.create_task_group() as group:
        for listener in listeners:
            group.start_soon(lambda callback=listener: client.call_tool("job", {}, progress_callback=callback))
    assert most == 1
    assert any(listener.has("busy, position 1") for listener in listeners)


async def test_what_the_work_raises_reaches_the_caller_as_it_is() -> None:
    def work(token: ProgressToken, status: Status) -> str:
        raise RestoreError("what was wrong", "what to do")

    class Silent(Context[Any, Any]):
        @property
        def headers(self) -> None:
            return None

        async def report_progress(
            self, progress: float, total: float | None = None, message: str | None = None
        ) -> None:
            await anyio.sleep(0)

    with pytest.raises(RestoreError, match="what was wrong; what to do"):
        await Jobs().run(Silent(), "job", work)


async def test_a_job_that_takes_too_long_is_stopped_and_the_next_one_runs() -> None:
    queue = Jobs(max_seconds=0.3)
    server: MCPServer[Any] = MCPServer("test")

    @server.tool()
    async def job(context: Context[Any, Any], endless: bool) -> str:
        def work(token: ProgressToken, status: Status) -> str:
            if endless:
                until_cancelled(token)
            return "result"

        return await queue.run(context, "job", work)

    async with Client(server) as client:
        with anyio.fail_after(10):
            stopped = await client.call_tool("job", {"endless": True})
            next_one = await client.call_tool("job", {"endless": False})
    assert stopped.is_error
    assert next_one.structured_content == {"result": "result"}


async def test_a_look_does_not_wait_for_work_nor_for_what_is_loaded_ahead_of_it() -> None:
    begun, over = threading.Event(), threading.Event()
    queue = Jobs()
    server: MCPServer[Any] = MCPServer("test")

    @server.tool()
    async def heavy(context: Context[Any, Any]) -> bool:
        return await queue.run(context, "heavy", lambda token, status: begun.set() or over.wait(20), "work")

    @server.tool()
    async def look(context: Context[Any, Any]) -> None:
        await queue.run(context, "look", lambda token, status: over.set())

    async with Client(server) as client, anyio.create_task_group() as group:
        results: list[Any] = []

        async def run_heavy() -> None:
            results.append(await client.call_tool("heavy", {}))

        group.start_soon(run_heavy)
        assert await anyio.to_thread.run_sync(begun.wait, PATIENCE_SECONDS)
        queue.begin_with(over.is_set)  # too late: it would wait for the work, and the look for it
        await client.call_tool("look", {})
    assert results[0].structured_content == {"result": True}  # ended by the look, not by the time


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_work_is_nicer_than_the_event_loop_whatever_the_priority_of_the_server() -> None:
    def work(token: ProgressToken, status: Status) -> str:
        return str(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    async with Client(server_doing(work)) as client:
        result = await client.call_tool("job", {})
    ours = os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert result.structured_content == {"result": str(min(19, ours + jobs.NICENESS))}
