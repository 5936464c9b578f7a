"""How the command line speaks: one document or some lines on stdout, progress and errors on stderr, exit codes."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType, TracebackType
from typing import Any

import typer
from rich.console import Console

from imaging.errors import RestoreError
from imaging.progress import ProgressToken

DEBUG_VARIABLE = "RESTORE4K_DEBUG"
BAD_REQUEST, BUG, SIGNALLED = 2, 1, 128


def in_options(advice: str) -> str:
    """What the engine advises, by the name of our option."""
    return advice.replace("ask for overwriting", "give --overwrite")


class Answer:
    """The answer of one command. Inside its block, errors become one line on stderr (and with --json a document on
    stdout) and an exit code: 2 for a `RestoreError`, 1 for a fault of ours, 130 after Ctrl-C.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._stdout = sys.stdout
        # Whatever a library prints must not get between our document and its reader.
        self._redirected = redirect_stdout(sys.stderr) if as_json else None

    def __enter__(self) -> Answer:
        if self._redirected:
            self._redirected.__enter__()
        return self

    def write(self, document: object, show: Callable[[Console], None]) -> None:
        """Answer with a JSON-able document, or with what `show` prints for a person."""
        if self._as_json:
            self._stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        else:
            show(Console(file=self._stdout, highlight=False, markup=False, soft_wrap=True))

    def fail(self, kind: str, message: str, hint: str, code: int, **more: str) -> typer.Exit:
        """Tell an error; the exit to raise."""
        message, hint = " ".join(message.split()), in_options(" ".join(hint.split()))
        print(f"error: {message}; {hint}" if hint else f"error: {message}", file=sys.stderr)  # noqa: T201
        if self._as_json:
            problem = {"type": kind, "message": message, "hint": hint, **more}
            self._stdout.write(json.dumps({"error": problem}, indent=2, ensure_ascii=False) + "\n")
        return typer.Exit(code)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._redirected:
            self._redirected.__exit__(kind, error, trace)
        if error is None or isinstance(error, (typer.Exit, SystemExit)):
            return
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(SIGNALLED + signal.SIGINT) from None
        name = type(error).__name__
        if isinstance(error, RestoreError):
            raise self.fail(name, error.message, error.hint, BAD_REQUEST) from None
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exception(error)
        hint = f"{DEBUG_VARIABLE}=1 shows where; please report it"
        raise self.fail(name, f"unexpected {name}: {error}", hint, BUG) from None


@contextmanager
def stopped_by_signals(token: ProgressToken) -> Iterator[Callable[[], int]]:
    """Let Ctrl-C and SIGTERM cancel `token`; gives what tells the signal that came. The second one ends at once."""
    received = [0]

    def stop(number: int, frame: FrameType | None) -> None:
        if received[0]:
            raise KeyboardInterrupt
        received[0] = number
        token.cancel()
        print("stopping after the current tile; once more to stop at once", file=sys.stderr)  # noqa: T201

    before: dict[signal.Signals, Any] = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield lambda: received[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
