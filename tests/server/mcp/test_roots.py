"""Folders that the client names, over real stdio with the SDK's client of both eras."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import ListRootsResult, Root

from server.errors import RequestError
from server.mcp.app import build_server, serve
from server.mcp.roots import folders_of
from server.settings import ServerSettings

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]
REPOSITORY = Path(__file__).parents[3]


def client_with(folder: Path, tmp_path: Path, environment: dict[str, str], mode: str, *options: str) -> Client:
    """Has one folder open; its server may read another one."""
    (tmp_path / "other").mkdir()
    arguments = ["-m", "server", "serve", str(tmp_path / "other"), "--output", str(tmp_path / "output"), *options]
    arguments += ["--tools", "all", "--wait-seconds", "600"]
    command = StdioServerParameters(command=sys.executable, args=arguments, env=environment, cwd=str(REPOSITORY))

    async def roots(_: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=folder.as_uri())])

    return Client(command, mode=mode, list_roots_callback=roots)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_roots_may_be_read_where_the_user_allows_it(
    photos: Any, tmp_path: Path, environment: dict[str, str], facts: Any, mode: str
) -> None:
    async with client_with(photos.folder, tmp_path, environment, mode, "--client-roots") as client:
        found = await client.call_tool("analyze_quality", {"image": "noisy.jpg"})
        assert not found.is_error, found
        done = await client.call_tool("denoise", {"image": str(photos.noisy), "expert": "tv_denoise"})
        assert not done.is_error, done
        assert Path(facts(done)["file"]).parent == tmp_path / "output"
        outside = await client.call_tool("analyze_quality", {"image": str(tmp_path / "x.png")})
        assert f"allowed: {tmp_path / 'other'}, {tmp_path / 'output'}, {photos.folder}" in outside.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_roots_say_nothing_where_the_user_has_not_allowed_it(
    photos: Any, tmp_path: Path, environment: dict[str, str], mode: str
) -> None:
    async with client_with(photos.folder, tmp_path, environment, mode) as client:
        refused = await client.call_tool("analyze_quality", {"image": str(photos.noisy)})
    assert "outside the allowed folders" in refused.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_without_roots_is_served_as_ever(settings: ServerSettings, photos: Any, mode: str) -> None:
    asking = ServerSettings(
        settings.allowed, settings.output, settings.workspace, settings.runs, client_roots=True, tools="all"
    )
    async with Client(build_server(settings)) as client:
        plain = (await client.list_tools()).tools
    async with Client(build_server(asking), mode=mode) as client:
        assert not (await client.call_tool("analyze_quality", {"image": "noisy.jpg"})).is_error
        assert (await client.list_tools()).tools == plain  # the model sees nothing of it


def test_roots_are_refused_over_http(settings: ServerSettings) -> None:
    asking = ServerSettings(
        settings.allowed, settings.output, settings.workspace, settings.runs, client_roots=True, tools="all"
    )
    with pytest.raises(RequestError, match="--client-roots"):
        serve(asking, "streamable-http")


def test_roots_that_are_no_folders_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    (tmp_path / "all").symlink_to("/")
    (tmp_path / "file").write_bytes(b"")
    odd = [
        "file:///",
        "file://server/share",
        "file:///absent-folder",
        Path.home().as_uri(),
        Path.home().parent.as_uri(),
    ]
    odd += [(tmp_path / "all").as_uri(), (tmp_path / "file").as_uri()]
    roots = [Root(uri=uri) for uri in [*odd, folder.as_uri()]]
    assert folders_of(ListRootsResult(roots=roots)) == (folder,)
