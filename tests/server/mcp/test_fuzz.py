"""Whatever comes in: tool inputs of any shape and image files with any head give an answer or a refusal in words."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client
from mcp.server import MCPServer
from mcp.types import TextContent, Tool

from imaging.errors import ImageError
from imaging.reading import Limits, read_image
from server.auth.access import Access
from server.auth.clients import NamedClient, load_clients
from server.errors import AccessDenied, BadAddress, BadData, RequestError
from server.mcp.fetching import Fetcher, is_public
from server.mcp.inputs import decode_data

bounded = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HEADS = 160
"""So many bytes at the beginning of a file are mutated: what decoders believe before they see a pixel."""


def _files() -> dict[str, bytes]:
    pixels = np.random.default_rng(3).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    files = {}
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF"):
        stream = io.BytesIO()
        PIL.Image.fromarray(pixels).save(stream, kind)
        files[kind] = stream.getvalue()
    return files


FILES = _files()
mutations = st.lists(st.tuples(st.integers(0, HEADS), st.integers(0, 255)), min_size=1, max_size=8)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.filterwarnings("ignore")  # of decoders, about odd files
@pytest.mark.parametrize("kind", sorted(FILES))
@bounded
@given(changes=mutations, cut=st.integers(0, 400), length=st.one_of(st.none(), st.integers(0, 400)))
def test_any_head_gives_a_picture_within_limits_or_an_image_error(
    kind: str, changes: list[tuple[int, int]], cut: int, length: int | None
) -> None:
    data = bytearray(FILES[kind])
    for place, value in changes:
        data[place % len(data)] = value
    whole = bytes(data) if length is None else bytes(data[:cut]) + bytes(length) + bytes(data[cut:])
    try:
        image = read_image(whole, Limits(max_bytes=1 << 20, max_pixels=10_000))
    except ImageError:
        return
    assert image.width * image.height <= 10_000
    assert bool(((image.pixels >= 0) & (image.pixels <= 1)).all())


@bounded
@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_picture_or_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError):
        read_image(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    allowed = tmp_path_factory.mktemp("fuzz") / "allowed"
    (allowed / "inner").mkdir(parents=True)
    (allowed.parent / "secret").mkdir()
    (allowed / "out").symlink_to(allowed.parent / "secret")
    (allowed / "up").symlink_to("..")
    return allowed


parts = st.sampled_from(["..", ".", "", "inner", "out", "up", "allowed", "secret", "~", "etc", "a" * 300, "\0", "é"])


@bounded
@given(path=st.lists(parts, max_size=8).map("/".join) | st.text(max_size=30), absolute=st.booleans())
def test_no_path_leads_out_of_the_allowed_folder(folder: Path, path: str, absolute: bool) -> None:
    try:
        real = Access([folder]).readable(f"{folder}/{path}" if absolute else path)
    except AccessDenied:
        return
    assert real == folder or folder in real.parents
    assert ".." not in real.parts


@bounded
@given(text=st.text(max_size=60) | st.from_regex(r"data:[a-z/]*;base64,[A-Za-z0-9+/=]*", fullmatch=True))
def test_any_data_is_decoded_or_refused(text: str) -> None:
    with suppress(BadData):
        assert isinstance(decode_data(text), bytes)


@settings(bounded, max_examples=15)
@given(address=st.text(max_size=60) | st.from_regex(r"https?://[^/]{0,20}(:[0-9]{0,6})?/.{0,10}", fullmatch=True))
def test_no_address_reaches_a_private_network(address: str) -> None:
    with pytest.raises(BadAddress):
        Fetcher(10, lambda host: ["10.0.0.1"]).fetch(address)


@bounded
@given(address=st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_equally_in_all_its_ipv6_forms(address: Any) -> None:
    mapped = f"::ffff:{address}"
    assert is_public(mapped) == is_public(str(address))
    assert not is_public(f"64:ff9b::{int(address) >> 16:x}:{int(address) & 0xFFFF:x}")
    assert not is_public(f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1")


@bounded
@given(text=st.text(max_size=80))
def test_any_file_of_clients_is_understood_or_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "clients.toml"
    file.write_text(text, "utf-8")
    file.chmod(0o600)
    with suppress(RequestError):
        assert all(isinstance(client, NamedClient) for client in load_clients(file).values())


def _arguments(tool: Tool) -> st.SearchStrategy[dict[str, Any]]:
    """Of any shape; never ones with which the tool could begin to work."""
    names = st.sampled_from([*tool.input_schema["properties"], "unknown"])
    images = st.dictionaries(st.sampled_from(["path", "handle", "data", "url", "x"]), anything, max_size=3)
    return st.dictionaries(names, anything | images, max_size=4)


@pytest.mark.parametrize("name", ["restore_to_4k", "analyze_quality", "run_candidates", "select_best"])
def test_any_arguments_are_refused_in_words(server: MCPServer[Any], name: str) -> None:
    async def prepare() -> Tool:
        async with Client(server) as client:
            return next(tool for tool in (await client.list_tools()).tools if tool.name == name)

    tool = anyio.run(prepare)

    @settings(bounded, max_examples=25)
    @given(arguments=_arguments(tool))
    def check(arguments: dict[str, Any]) -> None:
        try:
            json.dumps(arguments, allow_nan=False).encode()
        except (ValueError, UnicodeEncodeError):
            return  # no client could send it

        async def call() -> None:
            async with Client(server) as client:
                result = await client.call_tool(name, arguments)
                assert result.is_error
                assert isinstance(result.content[0], TextContent)
                assert result.content[0].text.strip() != f"Error executing tool {name}", "a fault of ours"

        anyio.run(call)

    check()
