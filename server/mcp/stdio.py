"""The messages of a client on stdio: lines of limited length, each of which is handled or answered with an error."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import anyio
import anyio.to_thread
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError
from pydantic_core import from_json

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import ReadStream, WriteStream

PIPE_BYTES = 1 << 18
END_BYTES = 1000
"""Bytes at each end of a line in which its `id` is searched if the line is not JSON."""
ID = rb'"id"\s*:\s*(0|-?[1-9]\d{0,17}|"[^"\\\x00-\x1f\x7f-\xff]{1,200}")'
FIRST = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?' + ID + rb"\s*,")
LAST = re.compile(rb",\s*" + ID + rb"\s*\}\s*$")
"""The `id` where clients write it: before everything else, or as the last key of the outermost object."""


@asynccontextmanager
async def answering_stdio(
    longest: int, left: anyio.Event
) -> AsyncIterator[tuple[ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]]]:
    """The streams of `stdio_server`, which alone would drop invalid lines and leave their sender waiting.

    A line of more than `longest` bytes is refused without being kept. `left` is set when there are no more lines.
    """
    lines = _Lines(_diverted_stdin(), longest, left)
    async with stdio_server(cast("anyio.AsyncFile[str]", lines)) as (read, write):
        lines.answers = write
        yield read, write


def _diverted_stdin() -> BinaryIO:
    """The stdin of the client's messages; child processes and libraries get an empty one in its place."""
    wire = os.fdopen(os.dup(0), "rb", buffering=PIPE_BYTES)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return wire


class _Lines:
    """Iterates over the lines that are messages, and answers the others with an error."""

    answers: WriteStream[SessionMessage]

    def __init__(self, stream: BinaryIO, longest: int, left: anyio.Event) -> None:
        self._stream, self._longest, self._left = stream, longest, left

    async def __aiter__(self) -> AsyncIterator[str]:
        while line := await anyio.to_thread.run_sync(self._line):
            refusal = self._refusal(line)
            if refusal is None:
                yield line.decode("utf-8", "replace")
            elif _is_reply(line):  # the error goes to the request that waits for this reply
                yield refusal.model_dump_json(by_alias=True)
            elif line.strip():
                await self.answers.send(SessionMessage(refusal))
        self._left.set()

    def _line(self) -> bytes:
        """The next line; of one that is too long, the first `_longest` + 1 and the last `END_BYTES` bytes."""
        line = self._stream.readline(self._longest + 1)
        if len(line) <= self._longest or line.endswith(b"\n"):
            return line
        last = b""
        while (more := self._stream.readline(1 << 20)) and not more.endswith(b"\n"):
            last = more
        return line + (last + more)[-END_BYTES:]

    def _refusal(self, line: bytes) -> JSONRPCError | None:
        if len(line) > self._longest + 1:
            why = f"a message of more than {self._longest} bytes; give large images as paths"
            return _error(PARSE_ERROR, why, _id_in(line))
        try:
            message = jsonrpc_message_adapter.validate_json(line.decode("utf-8", "replace"), by_name=False)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            if first["type"] == "json_invalid":
                return _error(PARSE_ERROR, first["msg"], _id_in(line))
            return _error(INVALID_REQUEST, "not a JSON-RPC request, notification or response", _id_in(line))
        if isinstance(message, JSONRPCNotification) and "id" in from_json(line.decode("utf-8", "replace")):
            return _error(INVALID_REQUEST, "the id of a request must be a string or an integer", None)
        return None


def _error(code: int, why: str, identifier: str | int | None) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=identifier, error=ErrorData(code=code, message=why))


def _is_reply(line: bytes) -> bool:
    return b'"method"' not in line and (b'"result"' in line or b'"error"' in line)


def _id_in(line: bytes) -> str | int | None:
    """The `id` of a message that cannot be read; None if it is not certain."""
    message: Any = None
    try:
        message = json.loads(line)  # more lenient: lone surrogates, deeper nesting
    except (ValueError, RecursionError):
        if found := FIRST.match(line[:END_BYTES]) or LAST.search(line[-END_BYTES:]):
            message = {"id": json.loads(found[1])}
    identifier = message.get("id") if isinstance(message, dict) else None
    if isinstance(identifier, str):
        return identifier if identifier.isprintable() else None  # surrogates are not
    return identifier if type(identifier) is int else None
