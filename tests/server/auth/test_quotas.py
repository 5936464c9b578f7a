"""What a client, or somebody without a token, can hold of an HTTP server: the others are served meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from imaging.image import Image
from server.auth.clients import NamedClient, Tokens
from server.auth.hosts import Hosts
from server.mcp.admission import OF_EACH, Admission, Quota
from server.mcp.app import MOST_BODY, build_server, web_app
from server.mcp.connections import MOST_WAITING
from server.mcp.fair_queue import MOST_WAITING_EACH
from server.mcp.workspace import Workspace
from server.settings import ServerSettings
from tests.server.auth.wire import SECONDS, TOKENS, Wire, status_of, text_of, wait_for_end


@pytest.fixture
def wire(settings: ServerSettings, serving: Callable[..., AbstractContextManager[str]]) -> Iterator[Wire]:
    clients = {name: NamedClient.model_validate({"token": token}) for name, token in TOKENS.items()}
    with serving(web_app(build_server(settings, Tokens(clients)))) as url, ExitStack() as stack:
        yield Wire(int(url.split(":")[2].split("/")[0]), stack)


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        (None, {}, 401),
        (None, {"Authorization": "Bearer wrong"}, 401),
        ("alice", {"Host": "evil.example"}, 421),
        ("alice", {"Origin": "https://evil.example"}, 403),
        ("alice", {"Content_Length": str(MOST_BODY + 1)}, 413),
    ],
)
def test_a_refusal_does_not_wait_for_the_body(
    wire: Wire, name: str | None, headers: dict[str, str], status: int
) -> None:
    large = {"Content-Length": str(MOST_BODY), **headers}
    strangers = [
        wire.post(name, "ping", length=2, **{k.replace("-", "_"): v for k, v in large.items()}) for _ in "ab"
    ]
    assert [status_of(stranger) for stranger in strangers] == [status, status]
    strangers[0].sendall(b" " * (1 << 20))  # nobody reads it, and the response has not been lost
    assert wire.is_serving("bob")


def test_connections_without_an_admitted_request_are_few_and_short(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = wire.post("alice", "tools/list")
    assert status_of(known) == 200
    idle = [wire.open(data) for data in (b"", b"POST /mcp HTTP/1.1\r\nX-Slow: ") for _ in range(MOST_WAITING)]
    assert wire.is_serving("bob")
    for connection in idle[:MOST_WAITING]:
        assert not connection.recv(1)
    monkeypatch.setattr("server.mcp.connections.SECONDS_TO_BE_ADMITTED", 0.2)
    assert not wire.open(b"GET ").recv(1)


def test_sessions_of_a_client_end_its_own_least_recently_used_one(wire: Wire) -> None:
    of_bob = wire.session("bob")
    first = wire.session("alice")
    second = wire.session("alice")
    for _ in range(OF_EACH.sessions - 1):
        assert wire.session("alice")
        assert wire.ping("alice", first) == 200
    assert wire.ping("alice", second) == 404
    assert wire.ping("bob", of_bob) == 200
    assert wire.session("bob")


def test_a_session_in_use_does_not_end_for_another(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.mcp.admission.OF_EACH", Quota(8, 8, sessions=1, held_bytes=1 << 20))
    used = wire.session("alice")
    slow = wire.unfinished("alice", Mcp_Session_Id=used)
    assert not wire.session("alice")
    assert wire.session("bob")
    slow.sendall(b" " * 999)
    assert status_of(slow) == 400
    assert opened(wire, "alice")
    assert wire.ping("alice", used) == 404


def opened(wire: Wire, token: str | None) -> str:
    """A new session, as soon as the client's requests are over: that is a moment after their answers begin."""
    end = time.monotonic() + SECONDS
    while not (name := wire.session(token)) and time.monotonic() < end:
        time.sleep(0.01)
    return name


def test_a_session_is_in_use_from_the_response_that_names_it(
    serving: Callable[..., AbstractContextManager[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that opens it may end after the client's next one has begun."""
    is_over = threading.Event()
    names = iter("abc")

    async def open_or_use(scope: Scope, receive: Receive, send: Send) -> None:
        name = dict(scope["headers"]).get(b"mcp-session-id", b"").decode()
        head = {b"mcp-session-id": (name or next(names)).encode()}
        await send({"type": "http.response.start", "status": 200, "headers": list(head.items())})
        await send({"type": "http.response.body", "body": b".", "more_body": True})
        if not name:
            await anyio.to_thread.run_sync(is_over.wait, SECONDS)
        await anyio.sleep(0.1)  # the answer has begun, the request is not over
        await send({"type": "http.response.body"})

    monkeypatch.setattr("server.mcp.admission.OF_ALL", Quota(9, 9, sessions=1, held_bytes=1 << 20))
    admitted = Admission(open_or_use, Hosts(["127.0.0.1"], []), with_tokens=False, max_body=1000)
    with serving(admitted, path="/mcp") as url, ExitStack() as stack:
        wire = Wire(int(url.split(":")[2].split("/")[0]), stack)
        used = wire.session(None)
        unfinished = wire.unfinished(None, Mcp_Session_Id=used)
        is_over.set()
        assert used
        assert not wire.session(None)
        unfinished.sendall(b" " * 999)
        assert status_of(unfinished) == 200
        assert opened(wire, None)


def test_a_full_server_refuses_who_has_no_session_and_forgets_those_that_expired(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.mcp.admission.OF_ALL", Quota(requests=9, streams=2, sessions=2, held_bytes=1 << 20))
    first, second = wire.session("alice"), wire.session("alice")
    assert not wire.session("bob")
    assert wire.session("alice")
    assert (wire.ping("alice", first), wire.ping("alice", second)) == (404, 200)
    monkeypatch.setattr("server.mcp.admission.DEFAULT_SESSION_IDLE_TIMEOUT", 0.0)
    assert wire.session("bob")


def test_a_server_with_as_many_requests_as_it_takes_refuses_the_next(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.mcp.admission.OF_ALL", Quota(requests=2, streams=2, sessions=2, held_bytes=1 << 20))
    for _ in range(2):
        wire.unfinished("alice")
    assert wire.status("bob", "ping", length=1000) == 503


def test_a_client_that_leaves_within_its_request_is_no_error(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    for unfinished in [wire.unfinished("alice") for _ in range(OF_EACH.requests)]:
        unfinished.close()
    while not wire.is_serving("alice"):  # until the first of them is over
        time.sleep(0.05)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_streams_of_a_client_end_its_own_oldest(wire: Wire) -> None:
    def listen(name: str) -> socket.socket:
        return wire.post(name, "subscriptions/listen", {"notifications": {"resourcesListChanged": True}})

    of_bob, first = listen("bob"), listen("alice")
    assert status_of(of_bob) == status_of(first) == 200
    assert [status_of(listen("alice")) for _ in range(OF_EACH.streams)] == [200] * OF_EACH.streams
    wait_for_end(first)
    assert wire.is_serving("alice")
    of_bob.settimeout(0.2)
    with pytest.raises(TimeoutError):
        wait_for_end(of_bob)


@pytest.mark.parametrize(
    ("quota", "length"),
    [
        (Quota(requests=3, streams=3, sessions=3, held_bytes=1 << 30), 1000),
        (Quota(requests=99, streams=3, sessions=3, held_bytes=4 * MOST_BODY - 1), MOST_BODY),
    ],
)
def test_requests_of_a_client_and_their_bytes_are_limited_together(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, quota: Quota, length: int
) -> None:
    monkeypatch.setattr("server.mcp.admission.OF_EACH", quota)
    for _ in range(3):
        wire.unfinished("alice", length)
    assert wire.is_serving("bob")
    assert status_of(wire.post("alice", "ping", length=length)) == 429
    assert wire.is_serving("bob")


def test_images_are_read_through_the_queue_and_large_ones_as_previews(
    wire: Wire, settings: ServerSettings, photo: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.mcp.resources.MAX_FULL_PIXELS", 1000)
    workspace = Workspace(settings.workspace / "alice")
    uri = f"image://{workspace.store_image(photo)}"

    def read(uri: str) -> socket.socket:
        return wire.post("alice", "resources/read", {"uri": uri}, Mcp_Name=uri, Connection="close")

    reads = [read(uri) for _ in range(MOST_WAITING_EACH + 20)]
    answers = [text_of(each) for each in reads]
    assert sum("busy: " in answer for answer in answers) > 0
    assert sum("image/png" in answer for answer in answers) > MOST_WAITING_EACH
    assert "more than 1000" in text_of(read(f"{uri}/full"))


def test_replies_that_a_client_does_not_take_are_limited_together(
    serving: Callable[..., AbstractContextManager[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 24 << 20  # more than the system's buffers
    app = Starlette(routes=[Route("/", lambda _: Response(bytes(size)))])
    monkeypatch.setattr("server.mcp.admission.OF_ALL", Quota(9, 9, 9, held_bytes=2 * size))
    admitted = Admission(app, Hosts(["127.0.0.1"], []), with_tokens=False, max_body=10)
    with serving(admitted, path="/") as url, ExitStack() as stack:
        wire = Wire(int(url.split(":")[2].strip("/")), stack)
        replies = [
            wire.open(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", receive_bytes=4096)
            for _ in range(4)
        ]
        last = wire.open(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        lengths = [len(text_of(connection)) for connection in (*reversed(replies), last)]
    assert sum(length > size for length in lengths) == 2
