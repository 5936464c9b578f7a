"""Random bodies over real HTTP: each gets a refusal or one answer, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx2
import pytest

from server.mcp.app import build_server, web_app
from server.settings import ServerSettings
from tests.fuzzed_messages import identifier, messages

ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
HELLO: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "1"},
}


def answers(text: str, kind: str) -> list[dict[str, Any]]:
    """The messages of a body of JSON or of events."""
    if kind.startswith("text/event-stream"):
        texts = [line.removeprefix("data:") for line in text.split("\n") if line.startswith("data:")]
        return [json.loads(one) for one in texts if one.strip()]
    return [json.loads(text)] if text else []


@pytest.mark.parametrize("seed", [2, 3])
def test_every_request_among_random_bodies_gets_one_answer(
    settings: ServerSettings, serving: Callable[..., AbstractContextManager[str]], seed: int
) -> None:
    with serving(web_app(build_server(settings))) as url, httpx2.Client(timeout=120, headers=ACCEPT) as http:
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
        opened = http.post(url, json=hello)
        session = {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
        http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=session)
        for body in messages(seed, 300):
            of = identifier(body)
            is_greeting = b'"initialize"' in body  # which opens a session of its own
            answer = http.post(url, content=body, headers={} if is_greeting else session)
            assert answer.status_code < 500, body[:500]
            assert "Traceback" not in answer.text
            assert "site-packages" not in answer.text
            ids = [one["id"] for one in answers(answer.text, answer.headers.get("content-type", "")) if "id" in one]
            if of is not None:
                refused = answer.status_code == 400  # before its id was read
                assert ids == [None if refused and ids == [None] else of], (
                    f"{body[:500]!r}: {answer.status_code} {answer.text[:500]}"
                )
        pong = http.post(url, json={"jsonrpc": "2.0", "id": 9, "method": "ping"}, headers=session)
        assert answers(pong.text, pong.headers["content-type"])[-1]["result"] == {}
