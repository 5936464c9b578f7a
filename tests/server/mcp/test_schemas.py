"""What the list of tools costs and says. To update: UPDATE_SNAPSHOTS=1 pytest tests/server/mcp/test_schemas.py."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mcp import Client
from mcp.types import Tool

from server.mcp.app import build_server
from server.settings import RESTORE, STEPS, ServerSettings

pytestmark = pytest.mark.anyio
SNAPSHOTS = Path(__file__).parent / "snapshots"
BUDGETS = {"restore": 6_000, "steps": 10_000, "all": 24_000}
"""Bytes of tools/list; every client sends them with every conversation."""
MOST_INSTRUCTIONS = 2048
"""Characters that Claude Code shows."""


async def tools_of(settings: ServerSettings) -> list[Tool]:
    async with Client(build_server(settings)) as client:
        return (await client.list_tools()).tools


def size(tool: Tool) -> int:
    document = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())


@pytest.mark.parametrize("tools", BUDGETS)
async def test_the_list_of_tools_keeps_its_budget(settings: ServerSettings, tools: Any) -> None:
    listed = await tools_of(replace(settings, tools=tools))
    assert sum(map(size, listed)) <= BUDGETS[tools]
    names = {tool.name for tool in listed}
    assert names == {"restore": set(RESTORE), "steps": set(STEPS)}.get(tools, names)
    assert not any(tool.output_schema for tool in listed)


async def test_the_instructions_are_shown_whole_and_name_tools_that_there_are(settings: ServerSettings) -> None:
    server = build_server(replace(settings, tools="steps"))
    assert server.instructions
    assert len(server.instructions) <= MOST_INSTRUCTIONS
    words = set(re.findall(r"\b[a-z]+_[a-z0-9_]+\b", server.instructions))
    assert words <= {tool.name for tool in await server.list_tools()}


async def test_tools_look_as_in_their_snapshots(settings: ServerSettings) -> None:
    seen = {
        f"{tool.name}.json": json.dumps(tool.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1)
        + "\n"
        for tool in await tools_of(settings)
    }
    if os.environ.get("UPDATE_SNAPSHOTS"):
        for old in SNAPSHOTS.glob("*.json"):
            old.unlink()
        for name, text in seen.items():
            (SNAPSHOTS / name).write_text(text, "utf-8")
    assert seen == {file.name: file.read_text("utf-8") for file in SNAPSHOTS.glob("*.json")}


async def test_every_tool_tells_what_a_model_and_a_directory_need(settings: ServerSettings) -> None:
    for tool in await tools_of(settings):
        notes = tool.annotations
        assert notes is not None, tool.name
        assert notes.title, tool.name
        assert bool(notes.read_only_hint) != bool(notes.destructive_hint), tool.name
        assert notes.open_world_hint is False, tool.name
        assert tool.description, tool.name
        assert re.search(r"[Mm]inutes|Seconds|Quick|Repeat", tool.description), tool.name
        assert len(re.split(r"[.:;] ", tool.description)) <= 6, tool.name
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        for name, schema in tool.input_schema["properties"].items():
            assert schema["type"] in ("string", "number", "integer", "boolean"), f"{tool.name}.{name}"


async def test_a_server_that_only_reads_offers_no_tool_that_writes(settings: ServerSettings) -> None:
    server = build_server(replace(settings, read_only=True))
    async with Client(server) as client:
        listed = (await client.list_tools()).tools
        refused = await client.call_tool("denoise", {"image": "clean.png"})
    assert {"look", "reason_degradations", "compare_images"} <= {tool.name for tool in listed}
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in listed)
    assert refused.is_error
    assert "not offered" in refused.content[0].text


async def test_a_server_that_fetches_says_that_its_world_is_open(settings: ServerSettings) -> None:
    listed = await tools_of(replace(settings, urls=True))
    assert all(tool.annotations and tool.annotations.open_world_hint for tool in listed)


async def test_every_operation_of_the_design_is_a_tool(settings: ServerSettings) -> None:
    assert {tool.name for tool in await tools_of(settings)} == {
        *STEPS,
        "plan_restoration",
        "analyze_quality",
        "compare_images",
        "list_experts",
        "run_candidates",
        "select_best",
        "finish_restoration",
    }
