"""An added model that never ends on certain pictures: its call ends all the same, and others are served meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import PIL.Image
import pytest
from mcp import Client
from mcp.types import TextContent

from server.mcp.app import build_server
from server.settings import ServerSettings
from tests.hostile_graphs import write_hostile_graph

pytestmark = pytest.mark.anyio
CARD = """\
[mine]
task = "denoising"
loader = "onnx"
about = "Mine."
source = "mine"
file = { name = "mine.onnx" }
"""


@pytest.fixture
def dark(tmp_path: Path, photos: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A picture on which the model `mine` never ends."""
    (tmp_path / "models" / "cards").mkdir(parents=True)
    (tmp_path / "models" / "cards" / "mine.toml").write_text(CARD, "utf-8")
    write_hostile_graph(tmp_path / "models" / "mine.onnx", "works for days in one operation")
    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path / "models"))
    file = photos.folder / "dark.png"
    PIL.Image.fromarray(np.full((40, 40, 3), 3, np.uint8)).save(file)
    return str(file)


def text_of(result: Any) -> str:
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def test_a_call_that_a_model_never_ends_is_stopped_and_the_next_one_is_served(
    settings: ServerSettings, dark: str
) -> None:
    server: Any = build_server(settings)
    async with Client(server) as client:
        with anyio.fail_after(1800):
            server._service.jobs._max_seconds = 5
            endless = await client.call_tool("denoise", {"image": dark, "expert": "mine"})
            assert endless.is_error
            assert "was stopped after 5 s" in text_of(endless)
            server._service.jobs._max_seconds = 1800
            again = await client.call_tool("denoise", {"image": dark, "expert": "tv_denoise"})
            assert not again.is_error, again


async def test_a_run_that_a_model_never_ends_can_be_cancelled_while_others_look(
    settings: ServerSettings, photos: Any, dark: str
) -> None:
    async with Client(build_server(replace(settings, wait_seconds=3))) as client:
        with anyio.fail_after(1800):
            under_way = text_of(await client.call_tool("denoise", {"image": dark, "expert": "mine"}))
            run = next(line for line in under_way.splitlines() if line.startswith("run: ")).removeprefix("run: ")
            assert not (await client.call_tool("analyze_quality", {"image": str(photos.noisy)})).is_error
            assert not (await client.call_tool("cancel_run", {"run": run})).is_error
            again = ""
            while "file: " not in again:  # joined until it is done
                call = await client.call_tool("denoise", {"image": str(photos.noisy), "expert": "tv_denoise"})
                assert not call.is_error, call
                again = text_of(call)
