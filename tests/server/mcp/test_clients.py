"""Clients that see or bear less than others: each completes a restoration, and one step by step."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import anyio
import PIL.Image
import pytest
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CallToolResult,
    CancelTaskRequest,
    CancelTaskRequestParams,
    GetTaskRequest,
    GetTaskRequestParams,
    ImageContent,
    Result,
    TextContent,
)

from server.mcp.app import build_server
from server.settings import ServerSettings

pytestmark = pytest.mark.anyio
MOST_BYTES = 1_000_000
QUICK = {"plan": "denoise, super_resolve", "experts": "tv_denoise, lanczos_2x", "size": "2x"}


class TaskCreated(Result):
    result_type: Literal["task"] = "task"
    task_id: str
    poll_interval_ms: int


class TaskState(Result):
    status: str
    result: dict[str, Any] | None = None


class PollsTasks(ClientExtension):
    """What a client of the tasks extension does with a task: asks for it until it ends, or cancels it."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, *, cancels: bool = False) -> None:
        self.cancels = cancels
        self.seen: list[str] = []

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=TaskCreated, resolve=self._resolve)]

    async def _resolve(self, task: TaskCreated, context: ClaimContext) -> CallToolResult:
        params = GetTaskRequestParams(task_id=task.task_id)
        if self.cancels:
            cancel = CancelTaskRequest(params=CancelTaskRequestParams(task_id=task.task_id))
            await context.session.send_request(cancel, Result)
        while True:
            state = await context.session.send_request(GetTaskRequest(params=params), TaskState)
            self.seen.append(state.status)
            if state.status == "cancelled":
                return CallToolResult(content=[TextContent(type="text", text="cancelled")], is_error=True)
            if state.result is not None:
                return CallToolResult.model_validate(state.result)
            await anyio.sleep(0.05)


class Caller:
    """A client that forwards to its model what its kind forwards, and does what the replies say."""

    def __init__(self, client: Client, kind: str) -> None:
        self._client, self._kind = client, kind
        self.waited = 0
        self.pictures = 0

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The facts that the model gets."""
        result = await self._client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        shown = [block for block in result.content if isinstance(block, ImageContent)]
        if self._kind == "drops what is large":
            assert len(result.model_dump_json()) < MOST_BYTES
        if self._kind == "only structured content" and result.structured_content is not None:
            return result.structured_content  # neither text nor pictures
        if self._kind != "only text":
            self.pictures += len(shown)
        texts = [block.text for block in result.content if isinstance(block, TextContent)]
        if texts[0].startswith("{"):
            return dict(json.loads(texts[0]))
        facts = dict(line.split(": ", 1) for line in "\n".join(texts).splitlines() if ": " in line)
        if facts.get("state", "").startswith(("running", "queued")):
            self.waited += 1
            return await self.call("get_run", run=facts["run"])
        return facts


@pytest.mark.parametrize(
    "kind", ["only text", "only structured content", "drops what is large", "no patience and no progress"]
)
async def test_every_kind_of_client_completes_a_restoration_and_one_in_steps(
    settings: ServerSettings, photos: Any, kind: str
) -> None:
    wait = 0.05 if kind.startswith("no patience") else 600
    async with Client(build_server(replace(settings, wait_seconds=wait))) as client:
        caller = Caller(client, kind)
        whole = await caller.call("restore_to_4k", image="noisy.jpg", **QUICK)
        found = await caller.call("reason_degradations", image="noisy.jpg")
        first = await caller.call("denoise", image="noisy.jpg", expert="tv_denoise")
        handle = first["image"].split()[0]
        larger = await caller.call("super_resolve", image=handle, scale=2, expert="lanczos_2x")
        done = await caller.call("finish_restoration", image=larger["image"].split()[0], width=192, height=160)
    assert "noise" in str(found)
    for facts in (whole, done):
        with PIL.Image.open(facts["file"]) as picture:
            assert picture.size == (192, 160)
    assert (caller.pictures > 0) == (kind != "only text")
    assert (caller.waited > 0) == kind.startswith("no patience")


async def test_a_run_is_joined_found_again_after_a_restart_and_listed(
    settings: ServerSettings, photos: Any, facts: Any
) -> None:
    arguments = {"image": str(photos.noisy), **QUICK}
    async with Client(build_server(settings)) as client:
        begun = facts(await client.call_tool("restore_to_4k", {**arguments, "wait_seconds": 0}))
        joined = facts(await client.call_tool("restore_to_4k", {**arguments, "wait_seconds": 0}))
        other = facts(await client.call_tool("restore_to_4k", {**arguments, "strength": 0.5, "wait_seconds": 0}))
        done = facts(await client.call_tool("get_run", {"run": f"run://{begun['run']}"}))
        data = {"image": photos.noisy.as_uri(), **QUICK}
        same = facts(await client.call_tool("restore_to_4k", data))
        await client.call_tool("get_run", {"run": other["run"]})
    assert begun["state"].startswith(("running", "queued"))
    assert begun["run"] == joined["run"] == done["run"] == same["run"] != other["run"]
    assert "position 1" in other["state"]
    async with Client(build_server(settings)) as client:
        listed = (await client.call_tool("list_runs", {})).structured_content or {}
        after_restart = await client.call_tool("get_run", {"run": begun["run"]})
        found = facts(after_restart)
        again = facts(await client.call_tool("restore_to_4k", arguments))
        Path(done["file"]).unlink()
        anew = facts(await client.call_tool("restore_to_4k", arguments))
    states = {run["run"]: run["state"] for run in listed["runs"]}
    assert states == {begun["run"]: "done", other["run"]: "done"}
    assert found["file"] == again["file"] == done["file"]
    (seen,) = (block for block in after_restart.content if isinstance(block, ImageContent))
    with PIL.Image.open(io.BytesIO(base64.b64decode(seen.data))) as picture:
        assert picture.width > 2 * 192  # before and after, side by side
    assert again["run"] == begun["run"] != anew["run"]


async def test_queued_and_running_work_is_cancelled(settings: ServerSettings, photos: Any, facts: Any) -> None:
    async with Client(build_server(replace(settings, wait_seconds=0))) as client:
        large = {"image": str(photos.clean), "plan": "upscale", "size": "16x"}
        running = facts(await client.call_tool("restore_to_4k", large))
        queued = facts(await client.call_tool("denoise", {"image": "clean.png"}))
        with anyio.fail_after(120):
            ended = [
                facts(await client.call_tool("cancel_run", {"run": one["run"]}))["state"] for one in (queued, running)
            ]
        replies = [await client.call_tool("get_run", {"run": one["run"]}) for one in (queued, running)]
        assert ended == ["cancelled", "cancelled"]
        assert all(one.is_error and "cancelled" in one.content[0].text for one in replies)
        assert not settings.output.exists() or not list(settings.output.iterdir())
        begun = facts(await client.call_tool("denoise", {"image": "clean.png", "expert": "tv_denoise"}))
        assert facts(await client.call_tool("get_run", {"run": begun["run"], "wait_seconds": 300}))["file"]


async def test_a_client_that_speaks_tasks_gets_runs_as_tasks(
    settings: ServerSettings, photos: Any, facts: Any
) -> None:
    """Their result, their error and their cancellation; a client that does not declare them is told in words."""
    server = build_server(replace(settings, wait_seconds=0))
    polls, cancels = PollsTasks(), PollsTasks(cancels=True)
    async with Client(server, extensions=[polls]) as client:
        done = facts(await client.call_tool("denoise", {"image": "noisy.jpg", "expert": "tv_denoise"}))
        failed = await client.call_tool("denoise", {"image": "noisy.jpg", "expert": "lanczos_2x"})
        request = GetTaskRequest(params=GetTaskRequestParams(task_id="20200101-000000-000000000000"))
        with pytest.raises(MCPError, match="no task"):
            await client.session.send_request(request, TaskState)
    assert Path(done["file"]).exists()
    assert polls.seen[0] == "working"
    assert polls.seen[-1] == "completed"
    assert failed.is_error
    assert "lanczos_2x does super_resolution" in failed.content[0].text
    async with Client(server, extensions=[cancels]) as client:
        large = {"image": "clean.png", "plan": "upscale", "size": "16x"}
        stopped = await client.call_tool("restore_to_4k", large)
    assert stopped.is_error
    assert cancels.seen == ["cancelled"]
    async with Client(server) as client:
        reply = facts(await client.call_tool("denoise", {"image": "clean.png", "expert": "tv_denoise"}))
    assert reply["state"].startswith(("running", "queued"))
