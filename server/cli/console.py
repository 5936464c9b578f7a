"""Output of the command line: a result on stdout, progress and errors on stderr, exit codes."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from types import FrameType, TracebackType
from typing import IO, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from imaging.errors import RestoreError
from imaging.progress import ProgressToken
from imaging.text import UNPRINTABLE, printable

DEBUG_VARIABLE = "RESTORE4K_DEBUG"
BAD_REQUEST, BUG, SIGNALLED = 2, 1, 128


class PlainConsole(Console):
    """A console that prints all text as it is, but escapes control characters, which a terminal would execute."""

    def __init__(self, file: IO[str] | None = None) -> None:
        super().__init__(file=file, stderr=file is None, highlight=False, markup=False, soft_wrap=True)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable with their text escaped; controls and styles of rich stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def _document(document: object) -> str:
    """JSON with control characters and invalid Unicode escaped, for display on a terminal."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n"


def with_option_names(advice: str) -> str:
    """The advice of an error, with command-line options in place of general terms."""
    return advice.replace("ask for overwriting", "give --overwrite")


class Answer:
    """The output of one command.

    Inside its block, errors become one line on stderr (with --json also a document on stdout) and an exit code: 2
    for a `RestoreError`, 1 for a bug, 130 after Ctrl-C.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._stdout = sys.stdout
        # Output of libraries must not end up in the JSON document.
        self._redirected = redirect_stdout(sys.stderr) if as_json else nullcontext()

    def __enter__(self) -> Answer:
        self._redirected.__enter__()
        return self

    def write(self, document: object, show: Callable[[Console], None]) -> None:
        """Write the JSON document, or what `show` prints without --json."""
        if self._as_json:
            self._stdout.write(_document(document))
        else:
            show(PlainConsole(self._stdout))

    def fail(self, kind: str, message: str, hint: str, code: int, **more: str) -> typer.Exit:
        """Report an error, and return the exit to raise."""
        message, hint = " ".join(message.split()), with_option_names(" ".join(hint.split()))
        line = f"error: {message}; {hint}" if hint else f"error: {message}"
        print(printable(line), file=sys.stderr)  # noqa: T201
        if self._as_json:
            problem = {"type": kind, "message": message, "hint": hint, **more}
            self._stdout.write(_document({"error": problem}))
        return typer.Exit(code)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        hint = f"set {DEBUG_VARIABLE}=1 for a traceback; please report it"
        raise self.fail(name, f"unexpected {name}: {error}", hint, BUG) from None


@contextmanager
def stopped_by_signals(token: ProgressToken) -> Iterator[Callable[[], int]]:
    """Let Ctrl-C and SIGTERM cancel `token`; a second one exits at once. The yielded function returns the signal."""
    received = [0]

    def stop(number: int, frame: FrameType | None) -> None:
        if received[0]:
            raise KeyboardInterrupt
        received[0] = number
        token.cancel()
        print("stopping after the current tile; repeat to stop at once", file=sys.stderr)  # noqa: T201

    before: dict[signal.Signals, Any] = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield lambda: received[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
