"""Allowed folders that are nested more deeply than function calls, or have the longest names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.types import PromptReference, TextContent

from tests.nested_folders import nested_folders

pytestmark = pytest.mark.anyio


@pytest.fixture
def odd(photos: Any) -> Iterator[Path]:
    """The allowed folder with a photo, a photo in a folder of 250 letters, and nested folders."""
    (photos.folder / ("n" * 250)).mkdir()
    photos.noisy.rename(photos.folder / ("n" * 250) / "noisy.jpg")
    with nested_folders(photos.folder):
        yield photos.folder


async def test_deep_folders_hide_no_photo_from_completions_prompts_and_hints(
    server: MCPServer[Any], odd: Path
) -> None:
    async with Client(server) as client:
        for argument, found in (("photo", "clean.png"), ("folder", ".")):
            reference = PromptReference(name="restore_photo" if argument == "photo" else "restore_folder")
            completed = await client.complete(reference, {"name": argument, "value": ""})
            assert found in completed.completion.values
        prompt = await client.get_prompt("restore_folder", {"folder": "."})
        assert isinstance(prompt.messages[0].content, TextContent)
        assert "clean.png" in prompt.messages[0].content.text
        refused = await client.call_tool("analyze_quality", {"image": "clear.png"})
        assert isinstance(refused.content[0], TextContent)
        assert "did you mean clean.png" in refused.content[0].text


async def test_a_folder_with_the_longest_name_is_restored(server: MCPServer[Any], odd: Path) -> None:
    (odd / "quick.toml").write_text('plan = ["denoising"]\nexperts = ["nlm_denoise"]\n')
    async with Client(server) as client:
        reply = await client.call_tool("restore_folder", {"folder": "n" * 250, "profile": "quick.toml"})
    assert not reply.is_error, reply.content
    assert reply.structured_content
    assert (reply.structured_content["pictures"], reply.structured_content["failed"]) == (1, 0)
