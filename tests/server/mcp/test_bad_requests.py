"""What cannot be done is answered with a tool error that a model can act on, and leaves nothing behind."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.types import TextContent

from server.mcp.inputs import MAX_DATA_CHARACTERS
from server.settings import ServerSettings

pytestmark = pytest.mark.anyio
NOT_AN_IMAGE = base64.b64encode(b"this is text, not an image").decode()


async def refusal(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    """The text of the error; nothing but an error is accepted."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, arguments
    assert isinstance(result.content[0], TextContent)
    text = result.content[0].text
    assert "Traceback" not in text
    assert len(text) < 2000
    return text


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_kind_of_bad_image_is_refused_and_nothing_is_written(
    server: MCPServer[Any], settings: ServerSettings, photos: Any, bad_image_files: dict[str, Path], mode: str
) -> None:
    assert len(bad_image_files) >= 20
    async with Client(server, mode=mode) as client:
        for kind, file in bad_image_files.items():
            inside = photos.folder / file.name
            if file.is_file():
                inside.write_bytes(file.read_bytes())
            elif file.is_dir():
                inside.mkdir()
            for tool in ("restore_to_4k", "denoise"):
                assert "Error executing tool" in await refusal(client, tool, {"image": {"path": str(inside)}}), kind
    assert not files_in(settings.output)
    assert not files_in(settings.runs)
    assert not files_in(settings.workspace)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ({}, "exactly one"),
        ({"path": "noisy.jpg", "handle": "img_0123456789ab"}, "exactly one"),
        ({"path": ""}, "at least 1"),
        ({"path": "/etc/passwd"}, "outside the allowed folders"),
        ({"path": "../../../etc/passwd"}, "outside the allowed folders"),
        ({"path": "absent.png"}, "does not exist"),
        ({"path": "."}, "folder"),
        ({"handle": "img_0123456789ab"}, "no image"),
        ({"handle": "../../secret"}, "pattern"),
        ({"data": "not base64!"}, "base64"),
        ({"data": NOT_AN_IMAGE}, "not an image"),
        ({"data": "A" * (MAX_DATA_CHARACTERS + 4)}, "at most"),
        ({"url": "https://example.org/x.png"}, "does not fetch images from the web"),
        ({"link": "https://example.org/x.png"}, "Extra inputs"),
        ("noisy.jpg", 'give an object, for example {"path"'),
    ],
)
async def test_images_that_cannot_be_had_are_refused(
    server: MCPServer[Any], settings: ServerSettings, image: Any, told: str
) -> None:
    async with Client(server) as client:
        assert told in await refusal(client, "analyze_quality", {"image": image})
    assert not files_in(settings.workspace)


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("restore_to_4k", {"profile": "Gen4K"}, "Gen4K-P"),
        ("restore_to_4k", {"profile": "/etc/evil.toml"}, "outside the allowed folders"),
        ("restore_to_4k", {"scale": 3}, "Input should be 2, 4, 8 or 16"),
        ("restore_to_4k", {"scale": 2, "long_side": 512}, "only one"),
        ("restore_to_4k", {"long_side": 1_000_000}, "less than or equal to 16384"),
        ("denoise", {"expert": "nlm_denoising"}, "nlm_denoise"),
        ("restore_to_4k", {"experts": ["nlm_denoising"]}, "nlm_denoise"),
        ("finish_restoration", {"width": 16384, "height": 16384}, "smaller size"),
        ("finish_restoration", {"width": 0, "height": 10}, "greater than or equal to 1"),
        ("denoise", {"expert": "lanczos_4x"}, "super_resolution"),
        ("super_resolve", {"scale": 8}, "Input should be 2, 4 or 16"),
        ("super_resolve", {"scale": 16}, "no expert for super_resolution 16x is installed"),
        ("run_candidates", {"task": "denoising", "scale": 2}, "denoising at scale 2 means nothing"),
        ("run_candidates", {"task": "super_resolution"}, "2, 4 or 16 is for super_resolution alone"),
        ("restore_to_4k", {"profile": "4k"}, "list_profiles lists all"),
        ("denoise", {"expert": "lanczos"}, "list_experts lists all"),
        ("denoise", {"long_side": 1024}, "no argument 'long_side'; it takes image, expert, profile"),
        ("run_candidates", {"task": "polishing"}, "Input should be"),
    ],
)
async def test_wishes_that_cannot_be_met_are_refused(
    server: MCPServer[Any], settings: ServerSettings, photos: Any, tool: str, arguments: dict[str, Any], told: str
) -> None:
    async with Client(server) as client:
        assert told in await refusal(client, tool, {"image": {"path": str(photos.noisy)}, **arguments})
    assert not files_in(settings.output)


async def test_a_link_out_of_the_allowed_folder_is_refused(
    server: MCPServer[Any], photos: Any, tmp_path: Path
) -> None:
    (tmp_path / "secret.png").write_bytes(photos.clean.read_bytes())
    (photos.folder / "link.png").symlink_to(tmp_path / "secret.png")
    async with Client(server) as client:
        assert "outside" in await refusal(client, "analyze_quality", {"image": {"path": "link.png"}})


async def test_a_fault_of_ours_is_logged_and_its_text_stays_here(
    server: MCPServer[Any], photos: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("inner workings")

    monkeypatch.setattr("server.mcp.tools_look.quality_report", broken)
    async with Client(server) as client:
        with caplog.at_level(logging.ERROR):
            text = await refusal(client, "analyze_quality", {"image": {"path": str(photos.noisy)}})
    assert "inner workings" not in text
    assert "inner workings" in caplog.text


@pytest.mark.parametrize("uri", ["image://img_0123456789ab", "image://x", "run://none/report", "run://../trace"])
async def test_links_to_nothing_are_refused(server: MCPServer[Any], uri: str) -> None:
    async with Client(server) as client:
        with pytest.raises(Exception, match=r"no image|not a handle|there is no|Unknown resource"):
            await client.read_resource(uri)
