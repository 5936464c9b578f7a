"""What models write for a size, a task or an image, and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.server import MCPServer
from pydantic import TypeAdapter

from server.mcp.inputs import FindingsArgument, OrderArgument, TaskArgument
from server.target_size import Extent, parse_size


@pytest.mark.parametrize(
    ("given", "final"),
    [
        ("4K", (4096, 2731)),
        (4096.0, (4096, 2731)),
        ("8k", (8192, 5461)),
        ("UHD", (3840, 2560)),
        ("1920 px", (1920, 1280)),
        ("1.5x", (900, 600)),
        ("3 times", (1800, 1200)),
        ("width 900", (900, 600)),
        ("height: 800", (1200, 800)),
        ("short side 1080", (1620, 1080)),
        ("1.5 MP", (1500, 1000)),
        ("1200x600", (900, 600)),
        ("1200 × 600 crop", (1200, 600)),
        ("A4 at 300 dpi", (3508, 2339)),
        ("a5 landscape 200 dpi crop", (1654, 1165)),
    ],
)
def test_sizes(given: object, final: tuple[int, int]) -> None:
    """Of a photo of 600x400 pixels."""
    assert parse_size(given).of(600, 400).final == final


def test_a_sheet_of_paper_holds_the_whole_photo_in_its_orientation() -> None:
    assert parse_size("A4").of(500, 500).final == (2480, 2480)
    assert parse_size("A4").of(400, 600).final == (2339, 3508)
    assert parse_size("A4 crop").of(400, 600) == Extent(final=(2480, 3508), crop=True)
    assert parse_size("2x").of(600, 400) == Extent(scale=2)


@pytest.mark.parametrize("given", ["Denoise", "noise", "denoising", ["noise"], "DENOISING", "denoise (1x)"])
def test_names_of_a_task(given: object) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(TaskArgument)
    assert adapter.validate_python(given).value == "denoising"


def test_orders_and_findings() -> None:
    orders: TypeAdapter[Any] = TypeAdapter(OrderArgument)
    for given in ("Denoise -> upscale 4x", "noise, super resolution", ["denoising", "super_resolve"]):
        assert [task.value for task in orders.validate_python(given)] == ["denoising", "super_resolution"]
    findings: TypeAdapter[Any] = TypeAdapter(FindingsArgument)
    found = findings.validate_python("fog very high, noise: low, JPEG artifacts")
    assert [(one.degradation.value, one.severity) for one in found] == [
        ("haze", "very high"),
        ("noise", "low"),
        ("jpeg_artifact", "medium"),
    ]
    assert findings.validate_python("none") == []


@pytest.mark.anyio
async def test_forms_of_an_image(server: MCPServer[Any], photos: Any, facts: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(photos.folder))
    async with Client(server) as client:
        reply = facts(await client.call_tool("finish_restoration", {"image": "clean.png", "width": 48}))
        handle = reply["handle"]
        for given in (
            photos.clean.as_uri(),
            "~/clean.png",
            f"'{photos.clean}'",
            {"path": "clean.png"},
            handle.upper(),
            f"image://{handle}",
            f"image://{handle}/full",
        ):
            seen = facts(await client.call_tool("look", {"image": given}))
            assert seen["shown"].endswith(("of 96x80, at 100%", "of 48x40, at 100%"))
        for name in ("photo", "path", "file"):
            assert not (await client.call_tool("look", {name: str(Path("clean.png"))})).is_error


@pytest.mark.anyio
async def test_null_as_text_means_not_given(server: MCPServer[Any], photos: Any) -> None:
    """For every optional argument of every tool; the image does not exist, so that nothing is done."""
    async with Client(server) as client:
        for tool in (await client.list_tools()).tools:
            needed = dict.fromkeys(tool.input_schema.get("required", []), "absent.png")
            for name in tool.input_schema["properties"].keys() - needed.keys():
                reply = await client.call_tool(tool.name, {**needed, name: "null"})
                text = "".join(getattr(block, "text", "") for block in reply.content)
                assert text != f"Error executing tool {tool.name}", name
