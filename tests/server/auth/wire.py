"""Raw HTTP connections to a server, with which a client can hold what it should not."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from typing import Any

TOKENS = {name: f"{name}-{'x' * 40}" for name in ("alice", "bob")}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
SECONDS = 20.0
"""Of patience with a server that should answer at once."""


class Wire:
    """Raw connections to a server, open until the end of the test."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port, self._stack = port, stack

    def open(self, data: bytes = b"", receive_bytes: int = 0) -> socket.socket:
        connection = self._stack.enter_context(socket.socket())
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(SECONDS)
        connection.connect(("127.0.0.1", self._port))
        connection.sendall(data)
        return connection

    def post(
        self, name: str | None, method: str, params: Any = None, length: int | None = None, **headers: str
    ) -> socket.socket:
        """Send a request; with `length`, only the beginning of a body of that many bytes."""
        modern = "Mcp_Session_Id" not in headers and method != "initialize"
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), "_meta": META}}
        data = json.dumps(body).encode() if length is None else b"{"
        lines = {
            "Host": f"127.0.0.1:{self._port}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "Content-Length": str(len(data) if length is None else length),
            **({"Authorization": f"Bearer {TOKENS[name]}"} if name else {}),
            **({"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method} if modern else {}),
            **{key.replace("_", "-"): value for key, value in headers.items()},
        }
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        return self.open(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + data)

    def unfinished(self, name: str | None, length: int = 1000, **headers: str) -> socket.socket:
        """A request that has been admitted and whose body does not come."""
        connection = self.post(name, "ping", length=length, Expect="100-continue", **headers)
        assert status_of(connection) == 100  # sent when the body is asked for
        return connection

    def status(self, *request: Any, **options: Any) -> int:
        return status_of(self.post(*request, **options))

    def is_serving(self, name: str) -> bool:
        return self.status(name, "tools/list") == 200

    def session(self, name: str | None) -> str:
        """Open a session of 2025, and give its name; empty where it is refused."""
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        head = self.post(name, "initialize", hello).recv(65536).decode().partition("\r\n\r\n")[0].lower()
        return head.partition("mcp-session-id: ")[2].partition("\r\n")[0]

    def ping(self, name: str, session: str) -> int:
        return self.status(name, "ping", Mcp_Session_Id=session)


def status_of(connection: socket.socket) -> int:
    """The status that comes on a connection."""
    answer = connection.recv(65536)
    assert answer, "hung up"
    return int(answer.split()[1])


def wait_for_end(connection: socket.socket) -> None:
    """Read until the end of a stream."""
    for _ in range(3):  # an event, the end; an open one goes on with pings
        more = connection.recv(1 << 16)
        if not more or more.endswith(b"0\r\n\r\n"):
            return
    raise AssertionError("the stream goes on")


def text_of(connection: socket.socket) -> str:
    """All that comes until the server hangs up."""
    return b"".join(iter(lambda: connection.recv(1 << 20), b"")).decode()
