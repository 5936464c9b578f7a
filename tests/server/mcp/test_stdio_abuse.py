"""Broken messages, kills and clients that leave, over a real process on stdio."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.PngImagePlugin
import pytest

from tests.fuzzed_messages import identifier, messages

pytestmark = pytest.mark.anyio


REPOSITORY = Path(__file__).parents[3]

PARSE, INVALID, NO_METHOD, PARAMS = -32700, -32600, -32601, -32602
LONGEST = 26 << 20
"""More than a message may have."""
HANG_SECONDS = 120
"""Then a server that does not answer is ended."""


def named(value: bytes, end: bytes = b"") -> bytes:
    """A call of a tool of nobody, with an argument, whose `id` comes last, as clients in TypeScript write it."""
    call = b'{"method":"tools/call","params":{"name":"rm","arguments":{"x":'
    return call + value + end + b'}},"jsonrpc":"2.0","id":7}'


MESSAGES: list[tuple[str, bytes, list[tuple[int, int | str | None]]]] = [
    ("no JSON", b"hello", [(PARSE, None)]),
    ("half a message", b'{"jsonrpc": "2.0", "id": 7, "method": "pi', [(PARSE, 7)]),
    ("half a call", b'{"jsonrpc": "2.0", "method": "tools/call", "params": {"x": {"id": 7', [(PARSE, None)]),
    ("no UTF-8", b'{"jsonrpc": "2.0", "id": 7, "method": "\xff\xfe"}', [(NO_METHOD, 7)]),
    ("UTF-16", '{"jsonrpc": "2.0", "id": 7, "method": "ping"}'.encode("utf-16-be"), [(PARSE, None)]),
    ("UTF-8 of a surrogate", b'{"jsonrpc": "2.0", "id": 7, "method": "\xed\xa0\x80"}', [(NO_METHOD, 7)]),
    ("a lone surrogate", named(rb'"\ud800"'), [(PARSE, 7)]),
    ("a lone surrogate in front", b'{"jsonrpc":"2.0","id":"a","method":"ping\\udfff"}', [(PARSE, "a")]),
    ("a lone surrogate as a key", named(rb'{"\udc00":1}'), [(PARSE, 7)]),
    ("a lone surrogate as an id", b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', [(PARSE, None)]),
    ("a lone surrogate in an answer", b'{"jsonrpc":"2.0","id":7,"result":{"x":"\\ud800"}}', []),
    ("a NUL byte", named(b'"\0"'), [(PARSE, 7)]),
    ("NUL bytes alone", bytes(100), [(PARSE, None)]),
    ("an escaped NUL", named(rb'"\u0000"'), []),
    ("no number", named(b"NaN"), []),
    ("a number of infinite size", b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":1e999}}', []),
    ("a number of 5,000 digits", named(b"9" * 5000), [(PARSE, 7)]),
    ("an id of 5,000 digits", b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}', [(PARSE, None)]),
    ("an id of 30 digits", b'{"jsonrpc":"2.0","id":' + b"9" * 30 + b',"method":"no"}', [(NO_METHOD, 10**30 - 1)]),
    ("an id that begins with zero", b'{"jsonrpc":"2.0","id":01,"method":"ping"}', [(PARSE, None)]),
    ("an id of two zeros at the end", b'{"jsonrpc":"2.0","method":"ping","id":-00}', [(PARSE, None)]),
    ("a fraction as an id", b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', [(INVALID, None)]),
    ("an id that is null", b'{"jsonrpc":"2.0","id":null,"method":"ping"}', [(INVALID, None)]),
    ("an id twice", b'{"jsonrpc":"2.0","id":7,"id":8,"method":"no"}', [(NO_METHOD, 8)]),
    ("a number", b"42", [(INVALID, None)]),
    ("an empty batch", b"[]", [(INVALID, None)]),
    ("a version of its own", b'{"jsonrpc": "9.9", "id": 7, "method": "ping"}', [(INVALID, 7)]),
    ("no method", b'{"jsonrpc": "2.0", "id": 7}', [(INVALID, 7)]),
    ("a method that is a list", b'{"jsonrpc": "2.0", "id": 7, "method": ["ping"]}', [(INVALID, 7)]),
    ("a method of nobody", b'{"jsonrpc": "2.0", "id": 7, "method": "shutdown/now"}', [(NO_METHOD, 7)]),
    ("no arguments", b'{"jsonrpc": "2.0", "id": 7, "method": "tools/call"}', [(PARAMS, 7)]),
    ("arguments that are a list", b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":[1]}', [(INVALID, 7)]),
    ("an answer to nothing", b'{"jsonrpc": "2.0", "id": 999, "result": {}}', []),
    ("cancelling nothing", b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}', []),
    ("deep nesting", b"[" * 50_000 + b"]" * 50_000, [(PARSE, None)]),
    ("deeply nested arguments", named(b"[" * 50_000, b"]" * 50_000), [(PARSE, 7)]),
    ("a megabyte in one string", b'{"jsonrpc":"2.0","id":7,"method":"' + b"x" * (1 << 20) + b'"}', [(NO_METHOD, 7)]),
    ("more than fits", named(b'"' + b"x" * LONGEST + b'"'), [(PARSE, 7)]),
    ("an id that is an object", b'{"jsonrpc": "2.0", "id": {"a": 1}, "method": "ping"}', [(INVALID, None)]),
    ("an empty line", b"", []),
    ("a line of blanks", b" \t\r", []),
]
"""Lines on stdio, with the codes and the ids of the errors that answer."""


@pytest.fixture
def pipe(serve_command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server on stdio that has been greeted."""
    with subprocess.Popen(
        serve_command,
        env=environment,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        greet(process)
        yield process
        process.kill()


def say(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin
    process.stdin.write(line + b"\n")
    process.stdin.flush()


def answer_to(process: subprocess.Popen[bytes], identifier: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The answer to one request, and everything that came before it."""
    assert process.stdout
    before = []
    while True:
        message = json.loads(process.stdout.readline())
        if message.get("id") == identifier and ("result" in message or "error" in message):
            return message, before
        before.append(message)


def wait_for_progress(process: subprocess.Popen[bytes], identifier: int, at_least: float) -> None:
    """Until the call has come so far, of 100. By number: whatever follows quickly takes the place of a message."""
    assert process.stdout
    while True:
        message = json.loads(process.stdout.readline())
        assert message.get("id") != identifier, f"it ended before {at_least} of 100"
        parameters = message.get("params", {})
        if parameters.get("progressToken") == identifier and parameters["progress"] >= at_least:
            return


def request(identifier: int, method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}).encode()


def greet(process: subprocess.Popen[bytes], **capabilities: Any) -> None:
    version = {"protocolVersion": "2025-11-25", "capabilities": capabilities}
    version["clientInfo"] = {"name": "t", "version": "1"}
    say(process, request(1, "initialize", **version))
    answer_to(process, 1)
    say(process, b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')


def test_broken_messages_are_answered_and_the_server_goes_on(pipe: subprocess.Popen[bytes]) -> None:
    for number, (kind, line, expected) in enumerate(MESSAGES, start=100):
        say(pipe, line)
        say(pipe, request(number, "ping"))
        pong, before = answer_to(pipe, number)
        assert pong.get("result") == {}, kind
        errors = [(message["error"]["code"], message["id"]) for message in before if "error" in message]
        assert errors == expected, f"{kind}: {before}"
        assert "Traceback" not in json.dumps(before), kind


REQUESTS = (
    *("initialize", "ping", "tools/list", "tools/call", "resources/list", "resources/read", "resources/subscribe"),
    *("resources/unsubscribe", "subscriptions/listen", "prompts/get", "completion/complete", "logging/setLevel"),
    *("notifications/cancelled", "notifications/progress", "notifications/nobody", "nobody"),
)
PARAMETERS = ({}, {"uri": 7}, {"uri": "run://a/trace"}, {"name": 5}, {"requestId": []}, {"_meta": 7})


def test_requests_sent_as_notifications_do_nothing(serve_command: list[str], environment: dict[str, str]) -> None:
    with subprocess.Popen(
        serve_command, env=environment, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        greet(process)
        for method in REQUESTS:
            for parameters in PARAMETERS:
                say(process, json.dumps({"jsonrpc": "2.0", "method": method, "params": parameters}).encode())
        say(process, request(9, "ping"))
        assert answer_to(process, 9) == ({"jsonrpc": "2.0", "id": 9, "result": {}}, [])
        _, log = process.communicate()
        assert b"Traceback" not in log, log.decode()


def test_a_broken_answer_to_the_server_ends_the_call_that_waits_for_it(
    serve_command: list[str], environment: dict[str, str], photos: Any
) -> None:
    with subprocess.Popen(
        [*serve_command, "--client-roots"], env=environment, cwd=REPOSITORY, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout
        greet(process, roots={})
        say(process, call(2, "analyze_quality", image=str(photos.noisy)))
        while (asked := json.loads(process.stdout.readline())).get("method") != "roots/list":
            pass
        identifier = json.dumps(asked["id"]).encode()
        say(process, b'{"jsonrpc":"2.0","id":' + identifier + rb',"result":{"roots":[{"uri":"file:///\ud800"}]}}')
        reply, _ = answer_to(process, 2)
        assert reply["error"]["code"] == PARSE
        say(process, request(3, "ping"))
        assert answer_to(process, 3)[0]["result"] == {}
        process.kill()


def call(identifier: int, tool: str, **arguments: Any) -> bytes:
    return request(identifier, "tools/call", name=tool, arguments=arguments, _meta={"progressToken": identifier})


def test_nothing_that_was_answered_is_lost_when_the_server_is_killed(
    serve_command: list[str], environment: dict[str, str], photos: Any, tmp_path: Path
) -> None:
    """Killed with a signal that it cannot see, while it restores, again and again."""
    image = str(photos.noisy)
    acknowledged: dict[str, str] = {}
    for progress in (0.01, 3):  # it begins, it has run experts
        process = subprocess.Popen(
            serve_command, env=environment, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with process:
            greet(process)
            for handle in acknowledged:
                say(process, call(2, "analyze_quality", image=handle))
                assert not answer_to(process, 2)[0]["result"].get("isError"), handle
            say(process, call(3, "denoise", image=image, expert="tv_denoise"))
            lines = answer_to(process, 3)[0]["result"]["content"][0]["text"].splitlines()
            report = dict(line.split(": ", 1) for line in lines if ": " in line)
            acknowledged[report["image"].split()[0]] = report["file"]
            say(process, call(4, "restore_to_4k", image=image, size=400))
            say(process, call(5, "restore_to_4k", image=image, size=400))
            wait_for_progress(process, 4, progress)
            os.kill(process.pid, signal.SIGKILL)
    (left,) = (tmp_path / "runs").iterdir()  # three servers worked on it, the fourth completes it
    with subprocess.Popen(
        serve_command, env=environment, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        greet(process)
        say(process, call(2, "restore_to_4k", image=image, size=400))
        text = answer_to(process, 2)[0]["result"]["content"][0]["text"]
        process.kill()
    assert f"run: {left.name}" in text.splitlines()
    for file in acknowledged.values():
        with PIL.Image.open(file) as picture:
            picture.load()
    for file in (tmp_path / "output").iterdir():  # whatever else is there is whole
        if not file.name.startswith("."):
            with PIL.Image.open(file) as picture:
                picture.load()


@pytest.mark.parametrize("stage", ["before the greeting", "in half a message", "while it restores"])
def test_a_client_on_stdio_that_goes_away_takes_the_server_with_it(
    serve_command: list[str], environment: dict[str, str], photos: Any, stage: str
) -> None:
    with subprocess.Popen(
        serve_command, env=environment, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        if stage != "before the greeting":
            greet(process)
        if stage == "in half a message":
            process.stdin.write(b'{"jsonrpc": "2.0", "id": 7, "me')
        if stage == "while it restores":
            say(process, call(3, "restore_to_4k", image=str(photos.noisy)))
            wait_for_progress(process, 3, 3)
        process.stdin.close()
        try:
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("seed", [0, 1])
def test_every_request_among_random_messages_gets_one_answer(pipe: subprocess.Popen[bytes], seed: int) -> None:
    lines = messages(seed, 300)
    answers = Counter[int | str | None]()
    hang = threading.Timer(HANG_SECONDS, pipe.kill)
    hang.start()
    for number, line in enumerate(lines):
        say(pipe, line)
        say(pipe, request(number, "ping"))  # so that no pipe is ever full
        pong, before = answer_to(pipe, number)
        assert pong.get("result") == {}
        answers.update(ids_of(before))
    requests = Counter(found for line in lines if (found := identifier(line)) is not None)
    assert pipe.stdout
    while missing := requests - answers:
        line = pipe.stdout.readline()
        assert line, f"never answered: {[line[:500] for line in lines if identifier(line) in missing]}"
        answers.update(ids_of([json.loads(line)]))
    hang.cancel()
    assert len(requests) > 100
    own = {found for found in requests if found in range(1000, 1000 + len(lines))}
    assert {found: answers[found] for found in own} == dict.fromkeys(own, 1)


def ids_of(received: list[dict[str, Any]]) -> list[int | str | None]:
    """The ids of answers, none of which shows what is inside the server."""
    text = json.dumps(received)
    assert "Traceback" not in text
    assert "site-packages" not in text
    return [message.get("id") for message in received if "result" in message or "error" in message]
