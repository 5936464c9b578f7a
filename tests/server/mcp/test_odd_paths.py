"""Paths that no file can have, or that nobody expects, wherever a tool or a resource takes one."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.server import MCPServer
from mcp.types import PromptReference, TextContent

pytestmark = pytest.mark.anyio
HANG_SECONDS = 300
PATHS = {
    "a name that is too long": "y" * 300,
    "a path that is too long": "y/" * 2040 + "y",
    "a NUL": "a\0b",
    "only dots": "..",
    "one dot": ".",
    "a root": "/",
    "a link to itself": "circle",
    "below a file": "noisy.jpg/inside",
    "a device": "/dev/zero",
    "a pipe": "pipe",
    "no home": "~nobody/a",
    "escapes": "\x1b[2J\r\n",
    "a drive": "C:\\CON",
    "an address": "file:///%00%ff",
    "blanks and dots": " . . ",
}
CALLS: dict[str, tuple[str, dict[str, object]]] = {
    "image": ("look", {"image": "PATH"}),
    "image of a run": ("restore_to_4k", {"image": "PATH", "size": 128, "max_expert_runs": 1}),
    "second": ("compare_images", {"first": "noisy.jpg", "second": "PATH"}),
    "output": ("denoise", {"image": "noisy.jpg", "expert": "median", "output": "PATH"}),
    "output of a suffix": ("denoise", {"image": "noisy.jpg", "expert": "median", "output": "PATH.png"}),
    "output of a run": ("restore_to_4k", {"image": "noisy.jpg", "size": "1x", "plan": [], "output": "PATH"}),
    "region": ("denoise", {"image": "noisy.jpg", "expert": "median", "region": "PATH"}),
    "profile": ("plan_restoration", {"image": "noisy.jpg", "profile": "PATH.toml"}),
    "folder": ("restore_folder", {"folder": "PATH"}),
    "run": ("get_run", {"run": "PATH"}),
}
INTERNAL = ("Errno", "failed inside", "Traceback")


@pytest.mark.parametrize("kind", PATHS)
async def test_any_path_gives_a_result_or_says_what_is_wrong(
    server: MCPServer[Any], photos: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    os.mkfifo(photos.folder / "pipe")
    for name in ("circle", "circle.png", "circle.toml"):
        (photos.folder / name).symlink_to(name)
    before = {file for file in tmp_path.rglob("*") if file.parent != tmp_path}
    path, wrong = PATHS[kind], dict[str, str]()
    with anyio.fail_after(HANG_SECONDS):
        async with Client(server) as client:
            for place, (tool, arguments) in CALLS.items():
                given = {
                    name: value.replace("PATH", path) if isinstance(value, str) else value
                    for name, value in arguments.items()
                }
                reply = await client.call_tool(tool, given)
                assert isinstance(reply.content[0], TextContent)
                text = reply.content[0].text
                if any(word in text for word in INTERNAL) or len(text) > 20_000:
                    wrong[place] = text[:500]
            for uri in (f"run://{path}/report", f"run://{path}/trace", f"image://{path}"):
                with pytest.raises((MCPError, ValueError)):
                    await client.read_resource(uri)
            for argument in ("photo", "folder"):
                prompt = PromptReference(name="restore_photo" if argument == "photo" else "restore_folder")
                await client.complete(prompt, {"name": argument, "value": path})
                with suppress(MCPError):
                    await client.get_prompt(prompt.name, {argument: path})
    assert wrong == {}
    failures = [
        (record.getMessage(), record.exc_text)
        for record in caplog.records
        if record.levelno >= logging.ERROR or record.exc_info
    ]
    assert failures == []
    files = {file for file in tmp_path.rglob("*") if file.parent != tmp_path} - before
    assert {file.relative_to(tmp_path).parts[0] for file in files} <= {"output", "workspace", "runs"}
