"""Admission of HTTP requests: decided on their headers, before the body is read, and within the client's quotas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
from mcp.server.streamable_http_manager import DEFAULT_SESSION_IDLE_TIMEOUT
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.auth.clients import current_client
from server.auth.hosts import Hosts
from server.mcp.connections import ADMIT

SECONDS_PER_BODY = 60.0
SECONDS_PER_REQUEST, SECONDS_PER_BYTE = 0.02, 1 / (8 << 20)
"""A client may begin 50 requests, or send bodies of 8 MiB, each second; parsing them blocks the event loop."""
BURST_SECONDS = 2.0
"""Maximum burst after a pause, in seconds of that rate."""
TOO_MANY = 429
SECONDS_BEFORE_REFUSAL = 1.0
"""Delay of a refusal for too many requests, so that rapid retries take little time from other clients."""
SESSION = "mcp-session-id"
SLICE = 1 << 16
"""Bytes of a reply that are sent at a time."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits on simultaneous work."""

    requests: int
    """Requests in progress."""
    streams: int
    """Streams of notifications among them: GET and `subscriptions/listen`. The oldest is ended for a new one."""
    sessions: int
    """Sessions of the 2025 revisions. The least recently used idle one is ended for a new one."""
    held_bytes: int
    """Bytes of request bodies, and of replies that the client has not read yet."""


OF_ALL = Quota(requests=512, streams=512, sessions=1024, held_bytes=512 << 20)
"""All clients together; also the one client of a server without tokens."""
OF_EACH = Quota(requests=64, streams=32, sessions=32, held_bytes=64 << 20)
"""Each client with a token."""


@dataclass(eq=False, slots=True)
class _Request:
    """A request in progress."""

    scope: Scope
    stopped: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    held: int = 0
    """Bytes of its body and of its unread reply."""
    status: int = 0
    """Status of the response; 0 before it begins."""
    session: str = ""
    """Key of its session in the client's sessions; a request that opens one has a key of its own until the response
    names the session."""
    is_complete: bool = False

    @property
    def headers(self) -> Headers:
        return Headers(scope=self.scope)

    @property
    def is_stream(self) -> bool:
        return self.scope["method"] == "GET" or self.headers.get("mcp-method") == "subscriptions/listen"

    @property
    def is_of_2025(self) -> bool:
        """Whether the SDK handles it in a session, as it also does without a version."""
        version = self.headers.get("mcp-protocol-version")
        return version is None or version in HANDSHAKE_PROTOCOL_VERSIONS


@dataclass(eq=False, slots=True)
class _Session:
    """A session of a 2025 revision."""

    calls: int = 0
    """Requests in progress, without streams."""
    used: float = 0.0
    """When the last of them ended."""


@dataclass(eq=False, slots=True)
class _Client:
    """Requests, streams and sessions of a client; streams and sessions in the order of their last use."""

    requests: set[_Request] = field(default_factory=set)
    streams: list[_Request] = field(default_factory=list)
    sessions: dict[str, _Session] = field(default_factory=dict)
    due: float = 0.0
    """When the next request may begin, if that is later than now."""

    @property
    def held(self) -> int:
        return sum(request.held for request in self.requests)


class _Refused(Exception):
    """The request is not served."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        # The connection keeps reading the body for a while, because the client might otherwise miss the response.
        self.response = PlainTextResponse(message, status, {"connection": "close"} if status == 408 else None)


class Admission:
    """ASGI middleware inside of authentication that admits requests by host, origin, token and quota.

    The app gets whole bodies; a body that is too large or takes too long is refused.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, with_tokens: bool, max_body: int) -> None:
        self._app, self._hosts, self._with_tokens, self._max_body = app, hosts, with_tokens, max_body
        self._clients: defaultdict[str, _Client] = defaultdict(_Client)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif refusal := self._hosts.refusal(Headers(scope=scope)):
            await refusal(scope, receive, send)
        elif self._with_tokens and not current_client():
            await self._app(scope, receive, send)  # answers 401, or where to get a token; reads no body
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        client, request = self._clients[current_client()], _Request(scope)
        try:
            with self._counted(client, request), request.stopped:
                scope.get("extensions", {}).get(ADMIT, lambda: None)()
                await self._turn(client)
                async with self._in_session(client, request):
                    body = await self._body(client, request, receive)
                    if body["type"] == "http.disconnect":
                        return
                    await self._app(scope, _replaying(body, receive), self._sending(client, request, send))
            if request.stopped.cancelled_caught:
                await _end(request, receive, send)
        except _Refused as refused:
            if self._with_tokens and refused.response.status_code == TOO_MANY:
                await anyio.sleep(SECONDS_BEFORE_REFUSAL)
            await refused.response(scope, receive, send)

    @property
    def _each(self) -> Quota:
        return OF_EACH if self._with_tokens else OF_ALL

    @contextmanager
    def _counted(self, client: _Client, request: _Request) -> Iterator[None]:
        """Count a request; one stream more than allowed ends the oldest. Raises `_Refused`."""
        if len(client.requests) >= self._each.requests or client.held > self._each.held_bytes:
            raise _Refused(TOO_MANY, "too many of your requests are in progress; wait until some have finished")
        if sum(len(each.requests) for each in self._clients.values()) >= OF_ALL.requests:
            raise _Refused(503, "the server is full; try again later")
        client.requests.add(request)
        if request.is_stream:
            if len(client.streams) >= self._each.streams:
                client.streams.pop(0).stopped.cancel()
            client.streams.append(request)
        try:
            yield
        finally:
            client.requests.discard(request)
            if request in client.streams:
                client.streams.remove(request)

    async def _turn(self, client: _Client) -> None:
        """Delay the request if the client uses more than its share of the event loop."""
        if self._with_tokens:
            now = anyio.current_time()
            client.due = max(client.due, now - BURST_SECONDS) + SECONDS_PER_REQUEST
            await anyio.sleep(max(0.0, client.due - now))

    async def _body(self, client: _Client, request: _Request, receive: Receive) -> Message:
        """The whole body in one message, or the client's disconnect. Raises `_Refused`."""
        declared = request.headers.get("content-length", "")
        self._hold(client, request, int(declared) if declared.isdecimal() else 0)
        body = bytearray()
        with anyio.move_on_after(SECONDS_PER_BODY):
            while True:
                message = await receive()
                body += message.get("body", b"")
                self._hold(client, request, max(request.held, len(body)))
                if message["type"] == "http.disconnect":
                    return message
                if not message.get("more_body", False):
                    client.due += len(body) * SECONDS_PER_BYTE
                    return {"type": "http.request", "body": bytes(body)}
        raise _Refused(408, "the request took too long")

    def _hold(self, client: _Client, request: _Request, size: int) -> None:
        """Count the bytes of a body, before reading it if its size is declared. Raises `_Refused`."""
        if size > self._max_body:
            raise _Refused(413, f"the request is larger than {self._max_body} bytes")
        more = size - request.held
        if more and client.held + more > self._each.held_bytes:
            raise _Refused(TOO_MANY, "your requests are too large together; wait until some have finished")
        if more and sum(each.held for each in self._clients.values()) + more > OF_ALL.held_bytes:
            raise _Refused(503, "the server is full; try again later")
        request.held = size

    @asynccontextmanager
    async def _in_session(self, client: _Client, request: _Request) -> AsyncIterator[None]:
        """Mark the session of a request as in use inside the block; track sessions that are opened and ended.

        Raises `_Refused` if there is no room for another session.
        """
        if not request.is_of_2025:
            yield
            return
        request.session = request.headers.get(SESSION, "")
        method, calls = request.scope["method"], int(not request.is_stream)
        if not request.session and method == "POST":
            request.session = unnamed = f"opened by {id(request)}"
            await self._make_room(client, request)
        else:
            unnamed = ""
        if session := client.sessions.pop(request.session, None):
            client.sessions[request.session] = session  # the most recently used one
            session.calls += calls
        try:
            yield
        finally:
            if session and client.sessions.pop(request.session, None):  # not ended meanwhile for a newer one
                session.calls, session.used = session.calls - calls, anyio.current_time()
                was_ended = request.status == 404 or (method == "DELETE" and request.status < 400)
                if not was_ended and request.session != unnamed:
                    client.sessions[request.session] = session

    async def _make_room(self, client: _Client, request: _Request) -> None:
        """Add a session; one more than allowed ends the least recently used idle one. Raises `_Refused`."""
        if is_full := self._sessions() >= OF_ALL.sessions:
            self._forget_expired()
            is_full = self._sessions() >= OF_ALL.sessions
        oldest = next((each for each, session in client.sessions.items() if not session.calls), None)
        if not is_full and len(client.sessions) < self._each.sessions:
            oldest = None
        elif oldest is None:
            raise _Refused(503 if is_full else TOO_MANY, "all sessions are in use; end one, or try again later")
        client.sessions[request.session] = _Session()
        if oldest:
            del client.sessions[oldest]
            headers = [(key, value) for key, value in request.scope["headers"] if key == b"host"]
            headers.append((SESSION.encode(), oldest.encode("latin-1")))
            # as if the client itself ended it
            await self._app({**request.scope, "method": "DELETE", "headers": headers}, _nothing, _nowhere)

    def _sessions(self) -> int:
        return sum(len(each.sessions) for each in self._clients.values())

    def _forget_expired(self) -> None:
        """Forget the sessions that the SDK has ended."""
        since = anyio.current_time() - DEFAULT_SESSION_IDLE_TIMEOUT
        for client in self._clients.values():
            client.sessions = {key: each for key, each in client.sessions.items() if each.calls or each.used > since}

    def _sending(self, client: _Client, request: _Request, send: Send) -> Send:
        """Send in slices, so that a reply counts until the client has read it; stop the request beyond the quota."""

        async def sliced(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                if request.status < 400:
                    _name_session(client, request, Headers(raw=message["headers"]).get(SESSION, ""))
            body = message.get("body", b"")
            request.held += len(body)
            if body and client.held > self._each.held_bytes and client.held > request.held:
                request.stopped.cancel()
                await anyio.lowlevel.checkpoint()
            last = max(0, len(body) - 1) // SLICE * SLICE
            for start in range(0, last, SLICE):
                await send({**message, "body": body[start : start + SLICE], "more_body": True})
            await send({**message, "body": body[last:]} if last else message)
            request.held -= len(body)
            request.is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        return sliced


def _name_session(client: _Client, request: _Request, name: str) -> None:
    """Register an opened session before the client learns its name, since its next request may come at once."""
    if name and name != request.session and (session := client.sessions.pop(request.session, None)):
        client.sessions[name] = session
        request.session = name


async def _end(request: _Request, receive: Receive, send: Send) -> None:
    """End the response of a request that was stopped; a cut reply is ended by closing the connection."""
    if not request.status:
        refused = _Refused(TOO_MANY, "stopped for a newer request of yours: too many are in progress")
        await refused.response(request.scope, receive, send)
    elif request.is_stream and not request.is_complete:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _replaying(first: Message, receive: Receive) -> Receive:
    rest = [first]

    async def replay() -> Message:
        return rest.pop() if rest else await receive()

    return replay


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _nowhere(message: Message) -> None:
    pass
