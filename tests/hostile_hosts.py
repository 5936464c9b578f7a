"""HTTP servers that answer slowly, without end, or with what nobody can use."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HOSTILE: dict[str, tuple[bytes, bytes]] = {
    "drips its head": (HEAD, b"X-More: yes\r\n"),
    "drips its body": (HEAD + b"\r\n", b" "),
    "is silent": (b"", b""),
    "never ends": (HEAD + b"\r\n", b" " * (1 << 20)),
    "nests": (HEAD + b"Content-Length: 100000\r\n\r\n", b"[" * 100_000),
    "is no key set": (
        HEAD + b"Content-Length: 100000\r\n\r\n",
        b'{"keys": [{"kid": [], "kty": 7}, 3]}'.ljust(100_000),
    ),
}
"""Servers by what they do: what they send at once, and then again and again."""


@contextmanager
def hostile_hosts() -> Iterator[Callable[[str], str]]:
    """Starts an HTTP server of one of these kinds, and gives its URL."""
    servers = list[socketserver.ThreadingTCPServer]()
    over = threading.Event()

    def start(kind: str) -> str:
        first, again = HOSTILE[kind]

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    self.request.recv(65536)
                    self.request.sendall(first)
                    while not over.wait(0 if len(again) > 100 else 0.05):
                        self.request.sendall(again)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    over.set()
    for server in servers:
        server.shutdown()
        server.server_close()
