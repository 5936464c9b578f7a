from __future__ import annotations

import anyio
import pytest

from server.errors import Busy
from server.mcp.fair_queue import FairQueue

pytestmark = pytest.mark.anyio


async def served(queue: FairQueue, arrivals: list[str]) -> tuple[list[str], dict[str, list[int]]]:
    """Who is served in which order when all come in while one is served; and the positions that each was told."""
    order: list[str] = []
    positions: dict[str, list[int]] = {arrival: [] for arrival in arrivals}
    go = anyio.Event()

    async def one(name: str) -> None:
        async with queue.enter(name[0], positions[name].append):
            order.append(name)
            await go.wait()

    async with anyio.create_task_group() as group:
        for arrival in arrivals:
            group.start_soon(one, arrival)
            await anyio.wait_all_tasks_blocked()
        go.set()
    return order, positions


async def test_clients_alternate_instead_of_waiting_for_all_jobs_of_another() -> None:
    order, _ = await served(FairQueue(), ["a1", "a2", "a3", "a4", "b1", "c1", "b2"])
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_every_waiting_call_is_told_its_position() -> None:
    _, positions = await served(FairQueue(), ["a1", "a2", "b1", "b2"])
    assert positions["a1"] == []
    assert positions["a2"][0] == 1
    assert positions["b1"][0] == 1  # b was not served yet, a was
    assert positions["a2"][1] == 2
    assert positions["b2"][0] == 3
    assert positions["b2"][-1] == 1


async def test_the_next_job_starts_when_a_waiting_or_running_one_is_cancelled() -> None:
    queue, order = FairQueue(), list[str]()

    async def wait(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            async with queue.enter(name, lambda position: None):
                order.append(name)
                await anyio.sleep_forever()

    scopes = {name: anyio.CancelScope() for name in "abcd"}
    async with anyio.create_task_group() as group:
        for name, scope in scopes.items():
            group.start_soon(wait, name, scope)
            await anyio.wait_all_tasks_blocked()
        for name in "bacd":  # b gives up while it waits
            scopes[name].cancel()
            await anyio.wait_all_tasks_blocked()
    assert order == ["a", "c", "d"]
    async with queue.enter("e", lambda position: None):
        pass


async def test_all_together_can_fill_the_queue_but_one_call_of_each_client_has_room() -> None:
    queue = FairQueue(most=4, most_each=2)
    async with queue.enter("a", lambda position: None), anyio.create_task_group() as group:

        async def wait(name: str) -> None:
            async with queue.enter(name, lambda position: None):
                pass

        for name in ("a", "a", "b"):
            group.start_soon(wait, name)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Busy, match="busy: 3 calls are waiting, 2 of them yours"):
            await wait("a")
        group.start_soon(wait, "b")
        await anyio.wait_all_tasks_blocked()
        group.start_soon(wait, "c")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Busy, match="busy: 5 calls are waiting, 1 of them yours"):
            await wait("c")
        group.cancel_scope.cancel()
