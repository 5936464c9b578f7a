"""The same server as real processes, over real stdio and HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import PIL.Image
import pytest
from mcp import Client, StdioServerParameters
from typer.testing import CliRunner

from server.cli.app import app

pytestmark = pytest.mark.anyio
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def http_server(serve_command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """The URL of a running server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*serve_command, "--transport", "streamable-http", "--port", str(port)]
    with subprocess.Popen(command, env=environment, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
        process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


async def test_stdio_restores_to_the_same_pixels_as_the_command_line(
    stdio_server: StdioServerParameters, photos: Any, facts: Any, tmp_path: Path
) -> None:
    async with Client(stdio_server) as client:
        with anyio.fail_after(300):
            result = await client.call_tool("restore_to_4k", {"image": str(photos.noisy), "size": 200})
    assert not result.is_error, result.content
    output = tmp_path / "by_command_line.png"
    arguments = ["restore", str(photos.noisy), "-o", str(output), "--long-side", "200", "--runs", str(tmp_path / "r")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    with PIL.Image.open(output) as ours, PIL.Image.open(facts(result)["file"]) as theirs:
        assert ours.size == (200, 167)
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize(("transport", "mode"), [("stdio", "auto"), ("stdio", "legacy"), ("http", "auto")])
async def test_a_call_that_is_given_up_loses_nothing_and_its_run_can_be_stopped(
    request: pytest.FixtureRequest, photos: Any, facts: Any, transport: str, mode: str
) -> None:
    """The same call finds the run; after `cancel_run` a short call is answered soon."""
    arguments = {"image": str(photos.clean)}
    async with Client(request.getfixturevalue(f"{transport}_server"), mode=mode) as client:
        short = {**arguments, "expert": "tv_denoise"}
        assert not (await client.call_tool("denoise", short)).is_error
        with anyio.move_on_after(120) as scope:

            async def give_up(progress: float, total: float | None, message: str | None) -> None:
                if (message or "").startswith("plan"):
                    scope.cancel()

            await client.call_tool("restore_to_4k", arguments, progress_callback=give_up)
        assert scope.cancelled_caught
        again = facts(await client.call_tool("restore_to_4k", {**arguments, "wait_seconds": 0}))
        assert again["state"].startswith("running")
        assert again["plan"]
        assert (
            again["run"] == facts(await client.call_tool("get_run", {"run": again["run"], "wait_seconds": 0}))["run"]
        )
        with anyio.fail_after(120):  # it would go on for longer
            stopped = facts(await client.call_tool("cancel_run", {"run": again["run"]}))
            other = {**short, "image": str(photos.noisy)}
            assert not (await client.call_tool("denoise", other)).is_error
        assert stopped["state"] == "cancelled"
        assert (await client.call_tool("get_run", {"run": again["run"]})).is_error


async def test_http_refuses_foreign_hosts_and_origins(http_server: str) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient() as client:
        for header in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
            answer = await client.post(http_server, json=message, headers={**accept, **header})
            assert answer.status_code in (403, 421), answer.text


def test_other_machines_are_not_served(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "server", "serve", "--transport", "streamable-http", "--host", "0.0.0.0"]
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "127.0.0.1" in done.stderr
