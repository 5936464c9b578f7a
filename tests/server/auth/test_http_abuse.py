"""Hostile clients over real HTTP: strangers, other clients' images, broken requests, slowness, disconnects."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ResourceUpdatedNotification, TextContent

from server.auth.clients import NamedClient, Tokens
from server.mcp.app import build_server, web_app
from server.mcp.subscriptions import MOST_WATCHED
from server.settings import ServerSettings

pytestmark = pytest.mark.anyio
TOKENS = {name: f"{name}-{'x' * 40}" for name in ("alice", "bob")}
KNOWN = {"authorization": f"Bearer {TOKENS['alice']}"}
REPOSITORY = Path(__file__).parents[3]
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


Serving = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def url(settings: ServerSettings, photos: Any, serving: Serving) -> Iterator[str]:
    """A server that knows Alice, who may read the photos, and Bob, who may read nothing."""
    clients = {
        "alice": NamedClient.model_validate({"token": TOKENS["alice"], "allow": [photos.folder]}),
        "bob": NamedClient.model_validate({"token": TOKENS["bob"]}),
    }
    with serving(web_app(build_server(settings, Tokens(clients)))) as address:
        yield address


@asynccontextmanager
async def client_of(url: str, name: str, mode: str = "auto", **options: Any) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {TOKENS[name]}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **options) as client,
    ):
        yield client


async def text_of(client: Client, tool: str, arguments: dict[str, Any]) -> tuple[bool, str]:
    result = await client.call_tool(tool, arguments)
    assert isinstance(result.content[0], TextContent)
    return bool(result.is_error), result.content[0].text


@pytest.mark.parametrize(
    ("kind", "headers", "status"),
    [
        ("nobody", {}, 401),
        ("an empty token", {"authorization": "Bearer"}, 401),
        ("a wrong token", {"authorization": f"Bearer {'y' * 46}"}, 401),
        ("the beginning of a token", {"authorization": f"Bearer {TOKENS['alice'][:-1]}"}, 401),
        ("a token that goes on", {"authorization": f"Bearer {TOKENS['alice']}x"}, 401),
        ("another scheme", {"authorization": f"Basic {TOKENS['alice']}"}, 401),
        ("a name instead", {"authorization": "Bearer alice"}, 401),
        ("a foreign host", {**KNOWN, "host": "evil.example"}, 421),
        (
            "a host that begins like this one",
            {"authorization": f"Bearer {TOKENS['alice']}", "host": "localhost:8.evil.com"},
            421,
        ),
        ("a host with a user", {"authorization": f"Bearer {TOKENS['alice']}", "host": "localhost:1@evil.com"}, 421),
        (
            "a page of a user",
            {"authorization": f"Bearer {TOKENS['alice']}", "origin": "http://127.0.0.1:1@evil.com"},
            403,
        ),
        ("a foreign page", {**KNOWN, "origin": "https://evil.example"}, 403),
        ("no page", {**KNOWN, "origin": "null"}, 403),
    ],
)
async def test_requests_without_a_valid_token_are_refused(
    url: str, kind: str, headers: dict[str, str], status: int
) -> None:
    async with httpx2.AsyncClient() as http:
        answer = await http.post(url, content=PING, headers={**ACCEPT, **headers})
    assert answer.status_code == status, kind
    assert TOKENS["alice"] not in answer.text


@pytest.mark.parametrize(
    ("kind", "method", "headers", "body", "statuses"),
    [
        ("no JSON", "POST", {}, b"hello", {400}),
        ("half a message", "POST", {}, PING[:-5], {400}),
        ("no UTF-8", "POST", {}, b"\xff\xfe\xff", {400}),
        ("a number", "POST", {}, b"42", {400}),
        ("an empty body", "POST", {}, b"", {400}),
        ("deep nesting", "POST", {}, b"[" * 50_000, {400}),
        ("a form", "POST", {"content-type": "application/x-www-form-urlencoded"}, b"a=b", {400, 415}),
        ("24 MB", "POST", {}, b"x" * (24 << 20), {413}),
        ("a session of nobody", "POST", {"mcp-session-id": "0" * 32}, PING, {400, 404}),
        ("an odd session", "POST", {"mcp-session-id": "../../etc"}, PING, {400, 404}),
        ("another verb", "PUT", {}, PING, {405}),
        ("a revision of its own", "POST", {"mcp-protocol-version": "1999-01-01"}, PING, {400}),
    ],
)
async def test_broken_requests_are_refused(
    url: str, kind: str, method: str, headers: dict[str, str], body: bytes, statuses: set[int]
) -> None:
    auth = {"authorization": f"Bearer {TOKENS['alice']}"}
    async with httpx2.AsyncClient(timeout=30) as http:
        answer = await http.request(method, url, content=body, headers={**ACCEPT, **auth, **headers})
    assert answer.status_code in statuses, f"{kind}: {answer.status_code} {answer.text[:200]}"
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_no_client_sees_what_is_anothers(url: str, photos: Any, settings: ServerSettings, mode: str) -> None:
    async with client_of(url, "alice", mode) as alice, client_of(url, "bob", mode) as bob:
        failed, text = await text_of(alice, "denoise", {"image": str(photos.noisy), "expert": "tv_denoise"})
        assert not failed, text
        report = (await alice.call_tool("list_profiles", {})).structured_content
        assert report
        handle = text.partition("image: ")[2].split()[0].rstrip(",;.")
        file = next((settings.output / "alice").iterdir())
        for image in (str(photos.noisy), str(file), {"path": f"../alice/{file.name}"}):
            failed, text = await text_of(bob, "analyze_quality", {"image": image})
            assert failed
            assert "outside the allowed folders" in text
            assert str(photos.folder) not in text.partition("allowed:")[2]
        failed, text = await text_of(bob, "analyze_quality", {"image": handle})
        assert failed
        assert "no image" in text
        with pytest.raises(Exception, match="no image"):
            await bob.read_resource(f"image://{handle}")
        assert (await alice.read_resource(f"image://{handle}")).contents
        data = base64.b64encode(photos.clean.read_bytes()).decode()
        failed, text = await text_of(bob, "denoise", {"image": f"data:;base64,{data}", "expert": "tv_denoise"})
        assert not failed, text
    assert {folder.name for folder in settings.output.iterdir()} == {"alice", "bob"}


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_only_the_owner_of_a_run_is_notified_of_it(url: str, photos: Any) -> None:
    """Clients of 2025 subscribe, those of 2026 listen; Bob does both with the address of Alice's run."""
    heard: dict[str, list[Any]] = {"alice": [], "bob": [], "bob listens": []}

    def listener(name: str) -> Any:
        async def on_message(message: Any) -> None:
            if isinstance(message, ResourceUpdatedNotification):
                heard[name].append(message.params.uri)

        return on_message

    async with (
        client_of(url, "alice", "legacy", message_handler=listener("alice")) as alice,
        client_of(url, "bob", "legacy", message_handler=listener("bob")) as bob,
        client_of(url, "bob") as modern,
        anyio.create_task_group() as group,
    ):
        traces: list[str] = []

        async def listen(task_status: Any) -> None:
            async with modern.listen(resources_list_changed=True, resource_subscriptions=traces) as subscription:
                task_status.started()
                async for event in subscription:
                    heard["bob listens"].append(event)

        async def watch() -> None:
            while not traces:
                await anyio.sleep(0.05)
                listed = (await alice.list_resources(cache_mode="bypass")).resources
                traces.extend(str(each.uri) for each in listed if str(each.uri).endswith("/trace"))
            await alice.subscribe_resource(traces[0])
            await bob.subscribe_resource(traces[0])
            await group.start(lambda *, task_status: listen(task_status))

        group.start_soon(watch)
        arguments = {"image": str(photos.noisy), "size": 96, "profile": "interactive"}
        with anyio.fail_after(240):
            assert not (await alice.call_tool("restore_to_4k", arguments)).is_error
            while not heard["alice"]:
                await anyio.sleep(0.05)
        await alice.unsubscribe_resource(traces[0])
        group.cancel_scope.cancel()
    assert set(heard["alice"]) == set(traces)
    assert not heard["bob"]
    assert not heard["bob listens"]


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_subscriptions_have_an_end(url: str) -> None:
    async with client_of(url, "alice", "legacy") as alice:
        for number in range(MOST_WATCHED):
            await alice.subscribe_resource(f"run://{number}/trace")
        with pytest.raises(MCPError, match="unsubscribe from some"):
            await alice.subscribe_resource("run://one-more/trace")


async def test_slow_clients_block_no_other_and_are_disconnected(
    settings: ServerSettings, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.mcp.admission.SECONDS_PER_BODY", 1)
    with serving(web_app(build_server(settings))) as url:
        port = int(url.split(":")[2].split("/")[0])
        head = f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {ACCEPT['accept']}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        dripping = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(20)]
        for connection in dripping:
            connection.sendall(head.encode() + b'{"jsonrpc"')
        async with Client(url) as client:
            with anyio.fail_after(20):
                assert not (await client.call_tool("list_profiles", {})).is_error
        for connection in dripping:
            answer = connection.recv(1000)  # the end of the connection, or a refusal
            assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
            connection.close()


async def test_a_client_that_disconnects_at_any_stage_blocks_no_other(url: str, photos: Any) -> None:
    """Before the request is whole, before the answer, and while the progress of a long restoration comes in."""
    port = int(url.split(":")[2].split("/")[0])
    body = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"restore_to_4k","arguments":{"image":'
        b'"clean.png"},"_meta":{"progressToken":1,"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
        b'"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},'
        b'"io.modelcontextprotocol/clientCapabilities":{}}}}'
    )
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {ACCEPT['accept']}\r\n"
        f"Authorization: Bearer {TOKENS['alice']}\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n"
        f"Mcp-Name: restore_to_4k\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    for sent, wait in ((head[:50], False), (head + body[:40], False), (head + body, False), (head + body, True)):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(sent)
            if wait:
                seen = b""
                while b"notifications/progress" not in seen:
                    received = connection.recv(65536)
                    assert received, seen
                    seen += received
    async with client_of(url, "alice") as client:
        (run,) = (await client.call_tool("list_runs", {})).structured_content["runs"]
        assert run["state"] == "running"  # both calls, and nothing of it is lost
        with anyio.fail_after(45):  # it would go on for minutes
            assert not (await client.call_tool("cancel_run", {"run": run["run"]})).is_error
            failed, text = await text_of(client, "denoise", {"image": str(photos.clean), "expert": "tv_denoise"})
    assert not failed, text


def test_no_token_is_logged(tmp_path: Path, environment: dict[str, str]) -> None:
    """A whole server process, its log, and a client that comes with a token and one that comes with a wrong one."""
    file = tmp_path / "clients.toml"
    file.write_text(f"[alice]\ntoken = '{TOKENS['alice']}'\n")
    os.chmod(file, 0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "server", "serve", "--transport", "streamable-http", "--port", str(port)]
    command += ["--clients", str(file), "--output", str(tmp_path / "out")]
    with subprocess.Popen(command, env=environment, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        statuses = []
        for token in (TOKENS["alice"], "wrong-" + "z" * 40):
            while process.poll() is None:
                try:
                    answer = httpx2.post(
                        f"http://127.0.0.1:{port}/mcp",
                        content=PING,
                        headers={**ACCEPT, "authorization": f"Bearer {token}"},
                    )
                    break
                except httpx2.ConnectError:
                    time.sleep(0.1)
            statuses.append(answer.status_code)
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert statuses[0] != 401
    assert statuses[1] == 401
    assert TOKENS["alice"] not in log
    assert "z" * 40 not in log
