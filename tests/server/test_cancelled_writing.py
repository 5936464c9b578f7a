"""A restoration that is cancelled while its result is encoded ends then, leaves no file, and can be continued."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.types import TextContent

from agent.events import Event, Progress
from agent.run import restore_file, resume_run
from imaging.errors import Cancelled
from imaging.output import FORMAT_OF
from imaging.progress import ProgressToken
from profiles.loading import load_profile

REPOSITORY = Path(__file__).parents[2]
HANG_SECONDS = 120
QUICK = 'scale_factor = {}\nplan = ["super_resolution"]\nexperts = ["lanczos_2x", "lanczos_4x"]\n'


def quick(folder: Path, scale: int) -> Path:
    """A profile that takes little time."""
    file = folder / "quick.toml"
    file.write_text(QUICK.format(scale))
    return file


@pytest.mark.parametrize("message", ["finishing", "writing"])
@pytest.mark.parametrize("suffix", sorted(FORMAT_OF))
def test_the_end_of_a_run_is_cancelled_in_every_format(
    photos: Any, tmp_path: Path, suffix: str, message: str
) -> None:
    token, folder = ProgressToken(), tmp_path / "results"
    wanted = load_profile(str(quick(tmp_path, 2)))

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.message == message:
            token.cancel()

    with pytest.raises(Cancelled):
        restore_file(
            photos.clean,
            folder / f"out{suffix}",
            wanted,
            runs=tmp_path / "runs",
            name="a",
            token=token,
            listener=stop,
        )
    assert not folder.exists() or not list(folder.iterdir())
    assert resume_run(tmp_path / "runs" / "a").output.is_file()


def test_ctrl_c_stops_a_command_that_encodes_its_result(
    photos: Any, tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    words = ["restore", str(photos.clean), "-o", str(folder / "out.png"), "-p", str(quick(tmp_path, 16))]
    process = subprocess.Popen(
        [sys.executable, "-m", "server", *words, "--long-side", "8192"],
        cwd=REPOSITORY,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not list(folder.iterdir()):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 128 + signal.SIGINT, errors
    assert "resume with: restore4k resume" in errors
    assert not list(folder.iterdir())


@pytest.mark.anyio
async def test_a_run_of_a_server_is_cancelled_while_its_result_is_encoded(
    server: MCPServer[Any], photos: Any, tmp_path: Path
) -> None:
    quick(photos.folder, 16)
    arguments = {"image": "clean.png", "size": 8192, "profile": "quick.toml", "wait_seconds": 0}
    with anyio.fail_after(HANG_SECONDS):
        async with Client(server) as client:
            begun = await client.call_tool("restore_to_4k", arguments)
            assert isinstance(begun.content[0], TextContent)
            run = re.search(r'get_run\("([^"]+)"\)', begun.content[0].text)
            assert run, begun.content[0].text
            while not list(tmp_path.glob("output/.*")):
                await anyio.sleep(0.01)
            ended = await client.call_tool("cancel_run", {"run": run[1]})
            assert isinstance(ended.content[0], TextContent)
            assert "cancelled" in ended.content[0].text
    assert not list(tmp_path.glob("output/*"))
