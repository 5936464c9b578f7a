"""A signal, or a client that leaves, ends a server on stdio; its run goes on from where it was."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.run_folder import RunFolder

REPOSITORY = Path(__file__).parents[3]
HANG_SECONDS = 120
"""Nothing else ends the process, whose input stays open."""


def say(process: subprocess.Popen[bytes], **message: Any) -> None:
    assert process.stdin
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    process.stdin.flush()


def wait_for(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdout
    while text not in (line := process.stdout.readline()):
        assert line, "the server has ended"
        assert b'"id":2' not in line, line


LOADING = """
import sys, threading
from server.cli.app import main
from server.mcp import app

def load():
    print("loading", file=sys.stderr, flush=True)
    threading.Event().wait()

app._load = load
main()
"""
"""The command line, which loads for ever."""


def test_a_server_whose_client_leaves_waits_for_nothing(
    serve_command: list[str], environment: dict[str, str]
) -> None:
    command = [serve_command[0], "-c", LOADING, *serve_command[3:]]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, cwd=REPOSITORY, **pipes) as process:  # type: ignore[call-overload]
        version = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        say(process, id=1, method="initialize", params=version)
        wait_for(process, b'"id":1')
        say(process, method="notifications/initialized")
        say(process, id=3, method="tools/list")
        wait_for(process, b'"id":3')
        while b"loading" not in (line := process.stderr.readline()):
            assert line, "the server has ended"
        process.stdin.close()
        try:
            assert process.wait(HANG_SECONDS) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "works"),
    [(signal.SIGINT, False), (signal.SIGHUP, False), (signal.SIGTERM, True)],
)
def test_a_signal_ends_a_server_on_stdio(
    serve_command: list[str],
    environment: dict[str, str],
    photos: Any,
    tmp_path: Path,
    number: signal.Signals,
    works: bool,
) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(serve_command, env=environment, cwd=REPOSITORY, **pipes) as process:  # type: ignore[call-overload]
        version = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        say(process, id=1, method="initialize", params=version)
        wait_for(process, b'"id":1')
        say(process, method="notifications/initialized")
        if works:
            asked = {"name": "restore_to_4k", "arguments": {"image": str(photos.noisy), "size": 400}}
            say(process, id=2, method="tools/call", params={**asked, "_meta": {"progressToken": 2}})
            wait_for(process, b"plan:")
        process.send_signal(number)
        try:
            assert process.wait(HANG_SECONDS) == 128 + number
        finally:
            process.kill()
    for folder in (tmp_path / "runs").glob("*"):
        state = RunFolder(folder).load_state()
        assert not state.finished
        assert state.plan
        with RunFolder(folder).held():
            assert RunFolder(folder).load_image(state.current).width == state.nodes[state.current].width
    assert len(list(tmp_path.glob("runs/*"))) == works
    assert list(tmp_path.glob("output/*")) == []
