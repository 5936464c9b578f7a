"""A server whose disk becomes full tells its client what is full, leaves nothing half-written, and goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.types import TextContent

from tests.full_disk import FullDisk, unfinished

pytestmark = pytest.mark.anyio
RESTORE = ("restore_to_4k", {"size": 96, "plan": "denoising", "experts": "tv_denoise"})
DENOISE = ("denoise", {"expert": "tv_denoise"})


@pytest.mark.parametrize(
    ("place", "stage", "call"),
    [
        ("runs", "opened", RESTORE),
        ("output", "written", RESTORE),
        ("output", "named", DENOISE),
        ("workspace", "written", DENOISE),
    ],
)
async def test_a_full_disk_is_told_and_the_same_call_goes_on_once_there_is_space(
    server: MCPServer[Any],
    photos: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    stage: str,
    call: tuple[str, dict[str, Any]],
) -> None:
    tool, arguments = call
    arguments = {"image": str(photos.noisy), **arguments}
    output = tmp_path / "output"
    async with Client(server) as client:
        with monkeypatch.context() as patch:
            FullDisk(tmp_path / place, stage).fill(patch)
            full = await client.call_tool(tool, arguments)
        assert isinstance(full.content[0], TextContent)
        assert full.is_error
        assert "No space left on device; free or unlock its disk" in full.content[0].text
        assert f"/{place}" in full.content[0].text
        assert unfinished(tmp_path) == []
        assert not list(output.glob("*"))
        assert not (await client.call_tool("list_profiles", {})).is_error
        repeated = await client.call_tool(tool, arguments)
        assert not repeated.is_error, repeated.content
    (result,) = output.iterdir()
    with PIL.Image.open(result) as picture:
        picture.load()
