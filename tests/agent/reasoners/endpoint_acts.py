"""What a chat endpoint of a test does with a request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

SEEN = json.dumps({"description": "A woman.", "degradations": [{"degradation": "noise", "severity": "high"}]})


def completion(text: Any, **usage: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "1", "choices": [choice], "usage": usage}).encode()


Act = Callable[[BaseHTTPRequestHandler], None]


def answer(body: bytes, status: int = 200, **headers: str) -> Act:
    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return act


def silent(left: threading.Event) -> Act:
    """Never answer; `left` is set when the client gives up within a minute."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.connection.settimeout(60)
        if handler.connection.recv(1) == b"":
            left.set()

    return act


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then for a minute, so that no single read takes long."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(600):
        handler.wfile.write(b" ")
        time.sleep(0.1)


def closing(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def breaking_off(handler: BaseHTTPRequestHandler) -> None:
    answer(completion(SEEN)[:40], content_length="5000")(handler)
    handler.close_connection = True


def enormous(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(bytes(1 << 20))
