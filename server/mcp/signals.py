"""The end of a server on stdio by a signal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from server.mcp.runs import Runs

GRACE_SECONDS = 1.0
"""Time for runs to save their states; a run that takes longer is resumed from its last finished step."""


@asynccontextmanager
async def ended_by_signals(runs: Runs) -> AsyncIterator[None]:
    """End the process soon after SIGINT, SIGTERM or SIGHUP, whatever it is doing."""
    if sys.platform == "win32":  # asyncio has no such signals there
        yield
        return
    async with anyio.create_task_group() as group:
        group.start_soon(_end, runs)
        yield
        group.cancel_scope.cancel()


async def _end(runs: Runs) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for number in signals:
            with anyio.move_on_after(GRACE_SECONDS):
                await runs.stop()
            # A thread waits for the client's next line, and no exception ends that.
            os._exit(128 + number)
