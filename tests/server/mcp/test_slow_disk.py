"""A disk that takes seconds for each access delays only those who need it: the event loop never waits for one."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.server import MCPServer
from mcp.types import TextContent

pytestmark = pytest.mark.anyio


class Accesses:
    """Accesses to files below a folder by one thread."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.thread = str(folder), threading.get_ident()
        self.is_on = False
        self.found: list[str] = []

    def note(self, event: str, path: object) -> None:
        if not self.is_on or threading.get_ident() != self.thread or isinstance(path, int):
            return
        if isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(self.folder):
            self.found.append(f"{event} {os.fsdecode(path)}")

    def noted(self, event: str, do: Any, path: Any, *args: Any, **options: Any) -> Any:
        self.note(event, path)
        return do(path, *args, **options)


WATCHED: list[Accesses] = []
sys.addaudithook(lambda event, details: [one.note(event, path) for one in WATCHED for path in details[:1]] and None)


@pytest.fixture
def accesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Accesses]:
    """Those of this thread, whose event loop serves."""
    found = Accesses(tmp_path)
    for name in ("stat", "lstat"):  # which no audit hook hears of
        monkeypatch.setattr(os, name, partial(found.noted, name, getattr(os, name)))
    WATCHED.append(found)
    yield found
    WATCHED.remove(found)


async def test_the_event_loop_waits_for_no_disk(server: MCPServer[Any], photos: Any, accesses: Accesses) -> None:
    image = str(photos.noisy)
    async with Client(server) as client:
        accesses.is_on = True

        async def call(tool: str, **arguments: Any) -> str:
            result = await client.call_tool(tool, arguments)
            assert isinstance(result.content[0], TextContent)
            assert not result.is_error, result.content[0].text
            return result.content[0].text

        restored = await call("restore_to_4k", image=image, size=96, profile="interactive")
        run = restored.partition("run: ")[2].split()[0]
        handle = restored.partition("image: ")[2].split()[0]
        await call("restore_to_4k", image=image, size=96, profile="interactive")
        await call("denoise", image=image, expert="tv_denoise", region=str(photos.clean))
        await call("denoise", image=image, expert="tv_denoise", region=str(photos.clean))
        await call("finish_restoration", image=handle, width=64)
        for tool in ("analyze_quality", "reason_degradations", "look"):
            await call(tool, image=image)
        await call("compare_images", first=image, second=handle)
        await call("get_run", run=run)
        await call("cancel_run", run=run)
        await call("list_runs")
        await call("restore_folder", folder=str(photos.folder), size=96, profile="interactive")
        for uri in (f"image://{handle}", f"image://{handle}/full", f"run://{run}/report", f"run://{run}/trace"):
            assert (await client.read_resource(uri)).contents
        for uri in ("image://img_0", "run://nobody/report", "run://nobody/trace"):
            with pytest.raises(MCPError):
                await client.read_resource(uri)
        await client.list_resources()
        accesses.is_on = False
    assert accesses.found == [], "\n".join(accesses.found)
