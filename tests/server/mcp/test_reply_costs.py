"""What a typical reply of each tool costs. To record: UPDATE_COSTS=1 pytest tests/server/mcp/test_reply_costs.py."""

from __future__ import annotations

import base64
import io
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from mcp import Client
from mcp.types import CallToolResult, ImageContent, TextContent
from skimage import data

from docs.tools import REPLIES
from server.mcp.app import build_server
from server.mcp.tools_steps import TASK_TOOLS
from server.settings import ServerSettings

pytestmark = pytest.mark.anyio
SLACK = 1.15
"""A reply may be as much larger than recorded."""
MOST_TOKENS = 25_000
"""Of one reply: clients cut what is longer."""


def photo_in(folder: Path) -> None:
    """A noisy photo of 512x512, in a folder of its own."""
    noise = np.random.default_rng(7).normal(0, 20, (512, 512, 3))
    noisy = np.clip(data.astronaut() + noise, 0, 255).astype(np.uint8)
    folder.mkdir()
    PIL.Image.fromarray(noisy).save(folder / "photo.jpg", quality=90)


def cost_of(result: CallToolResult, folder: Path) -> dict[str, int]:
    """Bytes of text, structured content and pictures, and the tokens of the pictures; folders' names do not count."""
    assert not result.is_error, result.content
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    links = [block.model_dump_json(exclude_none=True) for block in result.content if block.type == "resource_link"]
    shown = [base64.b64decode(block.data) for block in result.content if isinstance(block, ImageContent)]
    structured = json.dumps(result.structured_content or {}, ensure_ascii=False, separators=(",", ":"))
    sizes = [PIL.Image.open(io.BytesIO(one)).size for one in shown]
    return {
        "text": len("".join([*texts, *links]).replace(str(folder), "").encode()),
        "structured": len(structured.replace(str(folder), "").encode()) if result.structured_content else 0,
        "pictures": sum(map(len, shown)),
        "picture_tokens": sum(math.ceil(width * height / 750) for width, height in sizes),
    }


async def replies(client: Client) -> dict[str, CallToolResult]:
    """A call of every tool, with quick experts; of the tools for one task `denoise` only, which reply alike."""
    found: dict[str, CallToolResult] = {}

    async def call(tool: str, **arguments: Any) -> str:
        """The handle of the reply."""
        found[tool] = await client.call_tool(tool, arguments)
        return lines_of(found[tool]).get("image", "").split(" ")[0]

    image = "photo.jpg"
    for tool in ("analyze_quality", "reason_degradations", "plan_restoration"):
        await call(tool, image=image, **({"size": 1024} if tool == "plan_restoration" else {}))
    clean = await call("denoise", image=image, expert="tv_denoise")
    await call("super_resolve", image=clean, scale=2, expert="lanczos_2x")
    await call("restore_faces", image=image, expert="face_sharpen")
    await call("run_candidates", image=image, task="denoising", experts="tv_denoise, wavelet_denoise")
    handles = [name for name in lines_of(found["run_candidates"]) if name.startswith("img_")]
    await call("select_best", candidates=", ".join(handles))
    await call("compare_images", first=handles[0], second=handles[1])
    await call("look", image=image, region="face 1", beside=clean)
    await call("finish_restoration", image=clean, width=1024)
    wish = {"plan": "denoising", "experts": "tv_denoise"}
    await call("restore_to_4k", image=image, **wish)
    run = lines_of(found["restore_to_4k"])["run"]
    await call("get_run", run=run)
    await call("cancel_run", run=run)
    await call("restore_folder", folder=".", size="512", max_seconds=0.001)
    for tool in ("list_runs", "list_experts", "list_profiles"):
        await call(tool)
    return found


def lines_of(result: CallToolResult) -> dict[str, str]:
    text = result.content[0]
    assert isinstance(text, TextContent), result
    return dict(line.split(": ", 1) for line in text.text.splitlines() if ": " in line)


async def test_the_reply_of_each_tool_costs_what_is_recorded(settings: ServerSettings, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    photo_in(folder)
    async with Client(build_server(replace(settings, allowed=(folder,)))) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        found = {name: cost_of(result, tmp_path) for name, result in (await replies(client)).items()}
    if os.environ.get("UPDATE_COSTS"):
        REPLIES.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    recorded = json.loads(REPLIES.read_text("utf-8"))
    assert found.keys() == recorded.keys() == tools - TASK_TOOLS.keys() | {"denoise"}
    for name, cost in found.items():
        assert (cost["text"] + cost["structured"]) / 4 + cost["picture_tokens"] < MOST_TOKENS, name
        for part, most in recorded[name].items():
            assert cost[part] <= SLACK * most, f"{name}: {part} {cost[part]} of {most}; if it must, UPDATE_COSTS=1"
