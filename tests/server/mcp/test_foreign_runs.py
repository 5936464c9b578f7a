"""Runs on disk that another program made, edited or linked to elsewhere, as a client of the server meets them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import PIL.Image
import pytest
from mcp import Client, MCPError
from mcp.server import MCPServer
from mcp.types import TextContent

from agent.run_folder import RunFolder
from agent.state import RunState
from imaging.preparing import prepared
from imaging.reading import read_image
from server.errors import UnknownHandle
from server.mcp.workspace import Workspace
from server.settings import ServerSettings

pytestmark = pytest.mark.anyio
CALL = {"size": 128}
HANG_SECONDS = 300


@pytest.fixture
async def run(server: MCPServer[Any], photos: Any, facts: Any) -> str:
    """A finished restoration, which the next server process finds on disk."""
    async with Client(server) as client:
        return str(facts(await client.call_tool("restore_to_4k", {"image": str(photos.noisy), **CALL}))["run"])


@pytest.fixture
def folder(run: str, settings: ServerSettings) -> RunFolder:
    return RunFolder(settings.runs / run)


def edit(folder: RunFolder, **changes: object) -> None:
    folder.save_state(folder.load_state().model_copy(update=changes))


async def answer_of(settings: ServerSettings, tool: str, **arguments: object) -> str:
    """What a new server process answers."""
    from server.mcp.app import build_server

    with anyio.fail_after(HANG_SECONDS):
        async with Client(build_server(settings)) as client:
            reply = await client.call_tool(tool, arguments)
    assert isinstance(reply.content[0], TextContent)
    return f"{'error: ' if reply.is_error else ''}{reply.content[0].text}"


async def test_the_result_of_a_run_is_shown_only_from_folders_that_may_be_read(
    folder: RunFolder, run: str, settings: ServerSettings, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.png"
    PIL.Image.new("RGB", (160, 128), "red").save(outside)
    assert (await answer_of(settings, "get_run", run=run)).startswith("Restored to")
    edit(folder, output=str(outside))
    answer = await answer_of(settings, "get_run", run=run)
    assert "outside the allowed folders" in answer
    assert answer.startswith("error: ")
    link = settings.output / "link.png"
    link.symlink_to(outside)
    edit(folder, output=str(link))
    assert (await answer_of(settings, "get_run", run=run)).startswith("error: ")


def started_again(folder: RunFolder, photo: Path, **changes: object) -> None:
    """Turn a finished run into one that was stopped before perception, and edit its state."""
    state = folder.load_state()
    first = {"nodes": state.nodes[:1], "current": 0, "perception": None, "plan": None, "seconds": {}}
    folder.save_image(0, prepared(read_image(photo)))
    Path(state.output).unlink()
    edit(folder, **{**first, "expert_runs": 0, "finished": False, "result": None, **changes})


@pytest.mark.parametrize("place", ["elsewhere", "through ..", "over a file"])
async def test_a_resumed_run_writes_only_a_new_file_in_the_output_folder(
    folder: RunFolder, settings: ServerSettings, photos: Any, tmp_path: Path, place: str
) -> None:
    places = {"elsewhere": photos.clean, "through ..": settings.output / ".." / "other.png"}
    target = places.get(place, settings.output / "mine.png")
    PIL.Image.new("RGB", (9, 9), "red").save(target)
    before = target.read_bytes()
    started_again(folder, photos.noisy, output=str(target), overwrite=True)
    answer = await answer_of(settings, "restore_to_4k", image=str(photos.noisy), **CALL)
    assert answer.startswith("Restored to")
    assert target.read_bytes() == before
    assert str(settings.output / "noisy_restored.png") in answer


async def test_a_run_without_edits_is_resumed_to_where_it_was_meant(
    folder: RunFolder, settings: ServerSettings, photos: Any
) -> None:
    started_again(folder, photos.noisy)
    answer = await answer_of(settings, "restore_to_4k", image=str(photos.noisy), **CALL)
    assert f"run: {folder.path.name}" in answer.splitlines()
    assert Path(folder.load_state().output) == settings.output / "noisy_restored.png"


async def test_a_run_killed_before_its_first_state_leaves_nothing_behind(
    folder: RunFolder, settings: ServerSettings, photos: Any
) -> None:
    Path(folder.load_state().output).unlink()
    (folder.path / "state.json").unlink()
    with folder.held():  # another process has just begun it
        await answer_of(settings, "restore_to_4k", image=str(photos.noisy), **CALL)
        assert folder.path.exists()
    for run in settings.runs.iterdir():
        (run / "state.json").unlink(missing_ok=True)
    answer = await answer_of(settings, "restore_to_4k", image=str(photos.noisy), **CALL)
    (left,) = settings.runs.iterdir()
    assert f"run: {left.name}" in answer.splitlines()


async def test_a_run_folder_that_is_a_link_is_no_run(
    folder: RunFolder, run: str, settings: ServerSettings, tmp_path: Path
) -> None:
    shutil.move(folder.path, tmp_path / "elsewhere")
    folder.path.symlink_to(tmp_path / "elsewhere")
    assert run not in await answer_of(settings, "list_runs")
    assert "there is no run" in await answer_of(settings, "get_run", run=run)


@pytest.mark.parametrize("target", ["a file", "a pipe", "17 MB"])
async def test_a_trace_is_a_file_of_the_run(
    server: MCPServer[Any], folder: RunFolder, run: str, tmp_path: Path, target: str
) -> None:
    trace, outside = folder.path / "trace.jsonl", tmp_path / "outside"
    if target == "17 MB":
        trace.write_bytes(bytes(17 << 20))
    else:
        outside.write_text("secret") if target == "a file" else os.mkfifo(outside)
        trace.unlink()
        trace.symlink_to(outside)
    with anyio.fail_after(HANG_SECONDS):
        async with Client(server) as client:
            with pytest.raises(MCPError, match="no trace that can be read"):
                await client.read_resource(f"run://{run}/trace")


async def test_a_picture_before_that_is_a_link_is_not_shown(
    folder: RunFolder, run: str, settings: ServerSettings, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.jpg"
    (folder.path / "before.jpg").rename(outside)
    (folder.path / "before.jpg").symlink_to(outside)
    from server.mcp.app import build_server

    async with Client(build_server(settings)) as client:
        reply = await client.call_tool("get_run", {"run": run})
    assert not reply.is_error
    assert not any(block.type == "image" for block in reply.content)


FORGED: dict[str, Callable[[RunState], dict[str, object]]] = {
    "parents in a circle": lambda state: {"nodes": (state.nodes[0].model_copy(update={"parent": 0}),)},
    "nothing in it": lambda state: {"nodes": ()},
    "a NUL in its output": lambda state: {"output": "a\0b.png"},
    "a name that is too long": lambda state: {"output": f"/{'y' * 300}.png"},
    "a name of escapes": lambda state: {"id": "\x1b[2J", "source": "\x1b[2J" * 1000},
}


@pytest.mark.parametrize("kind", FORGED)
async def test_a_forged_run_spoils_only_itself(
    folder: RunFolder, run: str, settings: ServerSettings, photos: Any, kind: str
) -> None:
    edit(folder, **FORGED[kind](folder.load_state()))
    assert "Traceback" not in await answer_of(settings, "list_runs")
    for tool, arguments in (("get_run", {"run": run}), ("cancel_run", {"run": run})):
        assert "the server failed" not in await answer_of(settings, tool, **arguments)
    answer = await answer_of(settings, "restore_to_4k", image=str(photos.noisy), **CALL)
    assert answer.startswith("Restored to")


@pytest.mark.parametrize("end", ["image", "json", "name"])
@pytest.mark.parametrize("target", ["a file", "a pipe"])
def test_links_in_a_workspace_are_not_followed(tmp_path: Path, end: str, target: str) -> None:
    workspace, outside = Workspace(tmp_path / "workspace"), tmp_path / "outside"
    data = png(tmp_path / "a.png")
    handle = workspace.store_file(data, "mine")
    place = workspace.folder / f"{handle}.{end}"
    if target == "a pipe":
        os.mkfifo(outside)
    else:
        content = {"image": data, "name": b"secret", "json": b'{"bit_depth": 8, "metadata": "{}"}'}[end]
        outside.write_bytes(content)
    before = outside.lstat()
    place.unlink(missing_ok=True)
    place.symlink_to(outside)
    assert workspace.name(handle) == ("mine" if end != "name" else handle)
    if end != "name":
        with pytest.raises(UnknownHandle):
            workspace.load(handle)
    assert workspace.store_file(data, "mine") == handle
    if end == "image":
        assert not place.is_symlink()
        assert workspace.load(handle).width == 20
    assert outside.lstat().st_mtime_ns == before.st_mtime_ns


def test_a_workspace_behind_a_link_is_used(settings: ServerSettings, photos: Any, tmp_path: Path) -> None:
    """As with a home folder that is a link."""
    from server.mcp.inputs import InputImage
    from server.mcp.service import Service

    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    service = Service(replace(settings, workspace=tmp_path / "home" / "workspace"))
    source = service.open(InputImage("path", str(photos.noisy)))
    assert service.open(InputImage("handle", source.picture.handle)).image.width == 96


def png(file: Path) -> bytes:
    PIL.Image.new("RGB", (20, 30), "blue").save(file)
    return file.read_bytes()
