"""Child processes that answer requests over pipes; they handle untrusted files and can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

PIPE_BYTES = 1 << 20
POLL_SECONDS = 0.05
START_SECONDS = 60.0
"""Time for a new process to load its libraries on a busy machine."""


class Ended(Exception):
    """The process has closed its end of the pipe."""


class Child:
    """A process that runs a module and exits when its stdin is closed.

    A request is a line of JSON that contains the length of the bytes after it; answers have the same form.
    """

    def __init__(self, module: str, variables: Mapping[str, str] | None = None) -> None:
        self.requests = 0
        self.killed = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=PIPE_BYTES,
            pipesize=PIPE_BYTES,
            env={**os.environ, **(variables or {})},
            start_new_session=True,  # only the parent handles Ctrl-C
        )
        assert self._process.stdin and self._process.stdout  # noqa: S101, PT018  # for the type checker
        self.input, self.output = self._process.stdin, self._process.stdout
        weakref.finalize(self, _end, self._process)

    def send(self, request: Mapping[str, Any], data: bytes | memoryview = b"") -> None:
        """Send a request. Raises `Ended`."""
        self.requests += 1
        try:
            self.input.write(json.dumps(request).encode() + b"\n")
            self.input.write(data)
            self.input.flush()
        except OSError as error:
            raise Ended from error

    def head(self) -> bytes:
        """The JSON line of the next answer. Raises `Ended`."""
        line = self.output.readline(PIPE_BYTES)
        if not line.endswith(b"\n"):
            raise Ended
        return line

    @property
    def has_ended(self) -> bool:
        """Whether the process has exited."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill the process; `end` must follow."""
        self.killed = True
        self._process.kill()

    def end(self) -> int:
        """End the process and return its exit code."""
        return _end(self._process)


def _end(process: subprocess.Popen[bytes]) -> int:
    process.kill()
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe:
                pipe.close()
    return code


def limit_memory(most: int) -> None:
    """Limit the memory of this process to `most` bytes, on Linux; 0: no limit."""
    if most and sys.platform == "linux":  # on other systems RLIMIT_DATA has another meaning or none
        import resource

        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def read_into(stream: IO[bytes], view: memoryview) -> None:
    """Fill the view from the stream. Raises `Ended`."""
    place = 0
    while place < len(view):
        count = stream.readinto(view[place:])  # type: ignore[attr-defined]
        if not count:
            raise Ended
        place += count


@contextmanager
def watched(child: Child, seconds: float, check: Callable[[], None]) -> Iterator[list[Exception]]:
    """Kill the process after `seconds`, or when `check`, which is called repeatedly, raises.

    The yielded list contains its exception.
    """
    done = threading.Event()
    raised = list[Exception]()

    def watch() -> None:
        end = time.monotonic() + seconds
        while not done.wait(POLL_SECONDS):
            try:
                check()
            except Exception as error:
                raised.append(error)
            if raised or time.monotonic() > end:
                child.kill()
                return

    thread = threading.Thread(target=watch, name="restore4k-watch", daemon=True)
    thread.start()
    try:
        yield raised
    finally:
        done.set()
        thread.join()
