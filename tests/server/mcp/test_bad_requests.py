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
                assert "Error executing tool" in await refusal(client, tool, {"image": str(inside)}), kind
    assert not files_in(settings.output)
    assert not files_in(settings.runs)
    assert not files_in(settings.workspace)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({}, "give one string"),
        ({"path": "noisy.jpg", "handle": "img_0123456789abcdef0123456789abcdef"}, "give one string"),
        ("", "give one string"),
        ("/etc/passwd", "outside the allowed folders"),
        ("absent.png", "does not exist"),
        (".", "folder"),
        ("img_0123456789abcdef0123456789abcdef", "no image"),
        ("data:,not base64!", "base64"),
        (f"data:,{NOT_AN_IMAGE}", "not an image"),
        ("https://example.org/x.png", "does not fetch images from the web"),
    ],
)
async def test_images_that_cannot_be_had_are_refused(
    server: MCPServer[Any], settings: ServerSettings, image: Any, message: str
) -> None:
    async with Client(server) as client:
        assert message in await refusal(client, "analyze_quality", {"image": image})
    assert not files_in(settings.workspace)


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("restore_to_4k", {"profile": "Gen4K"}, "Gen4K-P"),
        ("restore_to_4k", {"profile": "/etc/evil.toml"}, "outside the allowed folders"),
        ("restore_to_4k", {"size": "huge"}, "longer side"),
        ("restore_to_4k", {"size": 1_000_000}, "from 64 to 16384"),
        ("restore_to_4k", {"size": "16384"}, "more than this server's limit"),
        ("restore_to_4k", {"size": "16384", "plan": "none"}, "more than this server's limit"),
        ("restore_to_4k", {"size": "64x7 crop"}, "at least 8 pixels"),
        ("plan_restoration", {"size": "64x1 crop"}, "at least 8 pixels"),
        ("finish_restoration", {"width": 7}, "at least 8 pixels"),
        ("restore_folder", {"folder": ".", "size": "12 MP"}, "for a folder"),
        ("denoise", {"expert": "nlm_denoising"}, "nlm_denoise"),
        ("restore_to_4k", {"experts": ["nlm_denoising"]}, "nlm_denoise"),
        ("finish_restoration", {"width": 16384, "height": 16384}, "smaller size"),
        ("finish_restoration", {"width": 192, "height": 96}, "192x160 keeps the aspect"),
        ("finish_restoration", {"width": 0, "height": 10}, "greater than or equal to 1"),
        ("denoise", {"expert": "lanczos_4x"}, "super_resolution"),
        ("super_resolve", {"scale": 8}, "2 and then 4"),
        ("super_resolve", {"scale": 16}, "4 twice"),
        ("run_candidates", {"task": "denoising", "scale": 2}, "denoising at scale 2 means nothing"),
        ("restore_to_4k", {"profile": "4k"}, "list_profiles lists all"),
        ("restore_to_4k", {"profile": "old photo"}, "did you mean OldP4K-P"),
        ("denoise", {"expert": "lanczos"}, "list_experts lists all"),
        ("denoise", {"long_side": 1024}, "no argument 'long_side'; it takes image, expert"),
        ("run_candidates", {"task": "polishing"}, "Input should be"),
        ("get_run", {"run": "20260101-000000-000000"}, "list_runs"),
        ("look", {"region": "face 9"}, "faces were found"),
        ("look", {"region": "most changed"}, "two pictures"),
    ],
)
async def test_wishes_that_cannot_be_met_are_refused(
    server: MCPServer[Any], settings: ServerSettings, photos: Any, tool: str, arguments: dict[str, Any], message: str
) -> None:
    async with Client(server) as client:
        image = {} if tool in ("get_run", "restore_folder") else {"image": str(photos.noisy)}
        assert message in await refusal(client, tool, {**image, **arguments})
    assert not files_in(settings.output)


async def test_a_link_out_of_the_allowed_folder_is_refused(
    server: MCPServer[Any], photos: Any, tmp_path: Path
) -> None:
    (tmp_path / "secret.png").write_bytes(photos.clean.read_bytes())
    (photos.folder / "link.png").symlink_to(tmp_path / "secret.png")
    async with Client(server) as client:
        assert "outside" in await refusal(client, "analyze_quality", {"image": "link.png"})


async def test_an_unexpected_error_is_logged_and_its_text_is_not_sent(
    server: MCPServer[Any], photos: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("inner workings")

    monkeypatch.setattr("server.mcp.tools_measure.quality_report", broken)
    async with Client(server) as client:
        with caplog.at_level(logging.ERROR):
            text = await refusal(client, "analyze_quality", {"image": str(photos.noisy)})
    assert "inner workings" not in text
    assert "inner workings" in caplog.text


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("../../x.png", "not in the output folder"),
        ("é" * 190, "more than the 255"),
        ("d/" * 1500 + "x", "not a path that a file can have"),
        (".", "not in the output folder"),
    ],
    ids=["elsewhere", "long", "deep", "the folder itself"],
)
async def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    server: MCPServer[Any], photos: Any, monkeypatch: pytest.MonkeyPatch, output: str, told: str
) -> None:
    def run_step(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("server.mcp.steps.run_step", run_step)
    arguments = {"image": str(photos.noisy), "output": output}
    async with Client(server) as client:
        assert told in await refusal(client, "denoise", arguments)


@pytest.mark.parametrize(
    "uri", ["image://img_0123456789abcdef0123456789abcdef", "image://x", "run://none/report", "run://../trace"]
)
async def test_links_to_nothing_are_refused(server: MCPServer[Any], uri: str) -> None:
    async with Client(server) as client:
        with pytest.raises(Exception, match=r"no image|not a handle|there is no|Unknown resource"):
            await client.read_resource(uri)
