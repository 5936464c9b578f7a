"""What clients see of each tool. To update: UPDATE_SNAPSHOTS=1 pytest tests/server/mcp/test_schemas.py."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.types import Tool

pytestmark = pytest.mark.anyio
SNAPSHOTS = Path(__file__).parent / "snapshots"


async def tools_of(server: MCPServer[Any]) -> list[Tool]:
    async with Client(server) as client:
        return (await client.list_tools()).tools


async def test_tools_look_as_in_their_snapshots(server: MCPServer[Any]) -> None:
    seen = {
        f"{tool.name}.json": json.dumps(tool.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1)
        + "\n"
        for tool in await tools_of(server)
    }
    if os.environ.get("UPDATE_SNAPSHOTS"):
        for old in SNAPSHOTS.glob("*.json"):
            old.unlink()
        for name, text in seen.items():
            (SNAPSHOTS / name).write_text(text, "utf-8")
    assert seen == {file.name: file.read_text("utf-8") for file in SNAPSHOTS.glob("*.json")}


async def test_every_tool_tells_what_a_model_needs_to_choose(server: MCPServer[Any]) -> None:
    for tool in await tools_of(server):
        assert tool.title, tool.name
        assert tool.description, tool.name
        assert tool.output_schema, tool.name
        assert tool.annotations is not None, tool.name
        assert tool.annotations.destructive_hint is False, tool.name
        for name, schema in tool.input_schema["properties"].items():
            assert schema.get("description"), f"{tool.name}.{name}"


async def test_every_tool_says_what_it_costs_and_what_it_is_not_for(server: MCPServer[Any]) -> None:
    for tool in await tools_of(server):
        text = tool.description or ""
        assert re.search(r"Takes|Quick|minutes", text), tool.name
        assert re.search(r"\b(use \w+_|Use|Not for|not needed|Not needed|Only |Do this)", text), tool.name


async def test_every_argument_has_an_example_that_its_schema_allows(server: MCPServer[Any]) -> None:
    for tool in await tools_of(server):
        for name, schema in tool.input_schema["properties"].items():
            assert schema.get("examples"), f"{tool.name}.{name}"
            for example in schema["examples"]:
                rules = {**schema, "$defs": tool.input_schema.get("$defs", {})}
                jsonschema.validate(example, rules)


async def test_every_tool_of_the_issue_is_there(server: MCPServer[Any]) -> None:
    assert {tool.name for tool in await tools_of(server)} == {
        "restore_to_4k",
        "restore_folder",
        "analyze_quality",
        "reason_degradations",
        "plan_restoration",
        "denoise",
        "dehaze",
        "derain",
        "brighten",
        "deblur_motion",
        "deblur_defocus",
        "remove_jpeg_artifacts",
        "restore_faces",
        "restore_old_photo",
        "super_resolve",
        "run_candidates",
        "select_best",
        "finish_restoration",
        "compare_images",
        "list_experts",
        "list_profiles",
    }
