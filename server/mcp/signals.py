"""The end of a server on stdio, by a signal or because its client has left."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import anyio

from server.mcp.runs import Runs

GRACE_SECONDS = 1.0
"""Time for runs to save their states; a run that takes longer is resumed from its last finished step."""


@asynccontextmanager
async def ended_in_time(runs: Runs) -> AsyncIterator[anyio.Event]:
    """End the process soon after SIGINT, SIGTERM, SIGHUP or the event that it yields, whatever it is doing.

    The event means that the client has left, so that work still done by a thread is not needed.
    """
    left = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(_end_of_client, runs, left)
        if sys.platform != "win32":  # asyncio has no such signals there
            group.start_soon(_end_by_signal, runs)
        yield left
        if left.is_set():
            await _end(runs, 0)
        group.cancel_scope.cancel()


async def _end_of_client(runs: Runs, left: anyio.Event) -> None:
    await left.wait()
    with anyio.move_on_after(GRACE_SECONDS):
        await runs.stop()
        await anyio.sleep_forever()  # answers in progress are still sent
    os._exit(0)


async def _end_by_signal(runs: Runs) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for number in signals:
            # A thread waits for the client's next line, which no exception interrupts.
            await _end(runs, 128 + number)


async def _end(runs: Runs, code: int) -> NoReturn:
    with anyio.move_on_after(GRACE_SECONDS):
        await runs.stop()
    os._exit(code)
