"""Names that are no Unicode, and files that are not what their names say, in the folders of a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.server import MCPServer
from mcp.types import PromptReference, TextContent, TextResourceContents

from agent.run_folder import RunFolder
from agent.state import RunState
from imaging.errors import OutputExists
from imaging.output import check_output
from profiles.loading import load_profile
from server.mcp.service import Service
from server.settings import ServerSettings

pytestmark = pytest.mark.anyio
LATIN = os.fsdecode(b"caf\xe9")
HANG_SECONDS = 300
PHOTO = PromptReference(name="restore_photo")


async def test_names_that_are_no_unicode_do_not_end_a_server_on_stdio(
    stdio_server: StdioServerParameters, photos: Any, tmp_path: Path
) -> None:
    folder = tmp_path / LATIN
    folder.mkdir()
    (photos.folder / f"{LATIN} too").mkdir()
    for name in (folder / f"{LATIN}.png", folder / "good.png", photos.folder / "\x1b[2J.png"):
        name.write_bytes(photos.clean.read_bytes())
    for name in (photos.folder / f"{LATIN}.png", photos.folder / f"{LATIN} too" / "it.png"):
        name.write_bytes(photos.clean.read_bytes())
    served = stdio_server.model_copy(update={"args": [*stdio_server.args, "--allow", str(folder)]})
    with anyio.fail_after(HANG_SECONDS):
        async with Client(served) as client:
            offered = []
            for argument in ("photo", "folder"):
                for typed in ("", "/"):
                    found = await client.complete(PHOTO, {"name": argument, "value": typed})
                    offered += found.completion.values
            assert {"clean.png", "good.png"} <= set(offered)
            assert all(name.isprintable() for name in offered)
            prompt = await client.get_prompt("restore_folder", {"folder": "."})
            assert isinstance(prompt.messages[0].content, TextContent)
            assert "clean.png" in prompt.messages[0].content.text
            with pytest.raises(MCPError, match=r"outside the allowed folders.*caf\\udce9"):
                await client.get_prompt("restore_folder", {"folder": "/etc"})
            refused = await client.call_tool("analyze_quality", {"image": "/etc/passwd"})
            assert isinstance(refused.content[0], TextContent)
            assert "caf\\udce9" in refused.content[0].text
            await client.list_tools()


@pytest.mark.parametrize("photo", ["b" * 245, "\u00e9" * 122, LATIN])
def test_a_result_has_a_name_that_files_can_have(photo: str, settings: ServerSettings) -> None:
    output = Service(settings).new_output(f"{photo}_restored")
    assert len(os.fsencode(output.name)) < 255
    assert output.name.encode().startswith(photo.encode("utf-8", "replace")[:100])
    output.parent.mkdir()
    output.symlink_to(output.parent / "nothing")  # a link to nothing has its name too
    assert Service(settings).new_output(f"{photo}_restored") != output
    with pytest.raises(OutputExists):
        check_output(output, overwrite=False)


async def test_bad_files_in_the_folders_of_a_server_spoil_only_themselves(
    server: MCPServer[Any], photos: Any, tmp_path: Path
) -> None:
    workspace, runs = tmp_path / "workspace", tmp_path / "runs"
    good, handle = "20260101-000000-abcdef", f"img_{'1' * 32}"
    state = RunState(
        id=good, source="a.png", output="b.png", overwrite=False, profile=load_profile("default"), reasoner="rules"
    )
    RunFolder.create(runs / good).save_state(state)
    (runs / good / "trace.jsonl").write_bytes(b'{"event":"started"}\n\xff\xfe\n')
    for run in ("20260101-000000-aaaaaa", "20260101-000001-bbbbbb", "20260101-000001-cccccc", f"20260101-{LATIN}"):
        (runs / run).mkdir(parents=True)
    os.mkfifo(runs / "20260101-000000-aaaaaa" / "state.json")
    (runs / "20260101-000001-bbbbbb" / "state.json").write_bytes(b"[" * 100_000)
    (runs / "20260101-000001-cccccc" / "state.json").mkdir()
    (runs / f"20260101-{LATIN}" / "state.json").write_bytes(b"\xff")
    (workspace / f"img_{'0' * 32}.image").mkdir(parents=True)
    (workspace / f"img_{LATIN}.image").write_bytes(b"x")
    (workspace / f"{handle}.image").write_bytes(photos.clean.read_bytes())
    os.mkfifo(workspace / f"{handle}.name")
    with anyio.fail_after(HANG_SECONDS):
        async with Client(server) as client:
            uris = {str(resource.uri) for resource in (await client.list_resources()).resources}
            assert {f"run://{good}/report", f"image://{handle}"} <= uris
            listed = (await client.call_tool("list_runs", {})).content[0]
            assert isinstance(listed, TextContent)
            assert good in listed.text
            assert "bbbbbb" not in listed.text
            (shown,) = (await client.read_resource(f"run://{good}/trace")).contents
            assert isinstance(shown, TextResourceContents)
            assert '"event":"started"' in shown.text
            assert handle in (await client.complete(PHOTO, {"name": "photo", "value": "img"})).completion.values
            saw = await client.call_tool("look", {"image": handle})
            assert not saw.is_error, saw.content
            assert not (await client.call_tool("look", {"image": "noisy.jpg"})).is_error
