"""JSON-RPC messages of a client, changed at random but the same in every run; some are still requests."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("ping", {}),
    ("tools/list", {"cursor": "x"}),
    ("tools/call", {"name": "list_profiles", "arguments": {"name": "default"}}),
    ("tools/call", {"name": "list_experts", "arguments": {"task": "denoising"}}),
    ("tools/call", {"name": "get_run", "arguments": {"run": "nobody", "wait_seconds": 0.1}}),
    ("tools/call", {"name": "denoise", "arguments": {"image": "nothing.png", "strength": 0.5, "region": "0,0,1,1"}}),
    ("tools/call", {"name": "restore_to_4k", "arguments": {"image": "img_0", "size": "2x", "max_seconds": 9}}),
    ("tools/call", {"name": "finish_restoration", "arguments": {"image": "data:,AAAA", "width": 9, "stretch": True}}),
    ("tools/call", {"name": "select_best", "arguments": {"candidates": ["img_0"], "choice": "img_0"}}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "image://img_0"}),
    ("resources/subscribe", {"uri": "run://nobody/trace"}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "restore_photo", "arguments": {"photo": "x"}}),
    (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "photo", "value": "x"}},
    ),
    ("logging/setLevel", {"level": "info"}),
    (
        "initialize",
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    ),
    ("notifications/progress", {"progressToken": 1, "progress": 1.0}),
    ("notifications/cancelled", {"requestId": "of nobody", "reason": "x"}),
    ("notifications/initialized", {}),
]
ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**30, -(10**300), "", "x" * 100_000, "\0", "\u2028\u0085\ufeff",
    "../../etc/passwd", [], [None], {}, {"": {}}, [[[[[]]]]], {"a": [{"b": None}]}, "NaN", "1e999", "\U0001f600",
]  # fmt: skip
RAW = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"1" * 5000,
    b"01",
    b"'x'",
    b'"\xff\xfe"',
    rb'"\ud800"',
    b'"\x01"',
    b'"\t"',
    b"{}}",
]
"""Values that are no JSON, or that some parsers take."""


def messages(seed: int, count: int) -> list[bytes]:
    """Lines without line ends; the `id` of each request is its number, from 1000."""
    rng = random.Random(seed)
    return [_message(rng, number) for number in range(1000, 1000 + count)]


def identifier(line: bytes) -> int | str | None:
    """The `id` of a line that is a valid request; None for every other line."""
    try:
        message = json.loads(line.decode(), parse_constant=_refused)
        json.dumps(message, ensure_ascii=False).encode()  # no lone surrogates
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        return None
    if not isinstance(message.get("params", {}), dict | None) or type(message.get("id")) not in (int, str):
        return None
    found: int | str = message["id"]
    return found


def _refused(constant: str) -> None:
    raise ValueError(constant)


def _message(rng: random.Random, number: int) -> bytes:
    method, params = rng.choice(METHODS)
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": deepcopy(params)}
    if not method.startswith("notifications/"):
        message = {"id": number, **message} if rng.random() < 0.5 else {**message, "id": number}
    for _ in range(rng.choice((0, 1, 1, 2))):
        _change(rng, message)
    line = json.dumps(message, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    for _ in range(rng.choice((0, 0, 1))):
        line = rng.choice(BREAKS)(rng, line)
    return line.replace(b"\n", b" ")


def _change(rng: random.Random, message: dict[str, Any]) -> None:
    """Replace, remove or add one value somewhere in the message."""
    place: Any = message
    while inner := [one for one in _values(place) if isinstance(one, dict | list) and one]:
        if rng.random() < 0.3:
            break
        place = rng.choice(inner)
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    key = rng.choice(keys)
    match rng.randrange(4):
        case 0:
            del place[key]
        case 1 if isinstance(place, dict):
            place[rng.choice(["x", "", "\0", "id ", "ID", "_meta", "__proto__"])] = deepcopy(rng.choice(ODD))
        case _:
            place[key] = deepcopy(rng.choice(ODD))


def _values(place: Any) -> list[Any]:
    return list(place.values()) if isinstance(place, dict) else list(place)


def _raw(rng: random.Random, line: bytes) -> bytes:
    """A value that is no JSON at the place of one."""
    colons = [index for index, byte in enumerate(line) if byte == ord(":") and index < 400]
    place = rng.choice(colons) if colons else 0
    end = min((index for mark in b",}" if (index := line.find(bytes([mark]), place)) >= 0), default=len(line))
    return line[: place + 1] + rng.choice(RAW) + line[end:]


def _flipped(rng: random.Random, line: bytes) -> bytes:
    place = rng.randrange(min(len(line), 400))
    return line[:place] + bytes([rng.randrange(256)]) + line[place + 1 :]


BREAKS = (
    _raw,
    _flipped,
    lambda rng, line: line[: rng.randrange(len(line))],
    lambda rng, line: line[rng.randrange(len(line)) :],
    lambda rng, line: b"\xef\xbb\xbf" + line,
    lambda rng, line: line + b"\r",
    lambda rng, line: b"[" + line + b"]",
    lambda rng, line: b"[" + line + b"," + line + b"]",
    lambda rng, line: line + line,
    lambda rng, line: line[:-1] + b',"method":"ping"}',
    lambda rng, line: line[:-1] + b',"params":{}}',
    lambda rng, line: b" \t" + line + b" ",
    lambda rng, line: line[:-1] + b',"x":' + b"[" * rng.choice((10, 500, 20_000)),
)
"""Changes of the text: cut, doubled, with a byte order mark, as a batch, with a key twice, nested."""
