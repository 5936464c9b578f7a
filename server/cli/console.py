"""Output of the command line: a result on stdout, progress and errors on stderr, exit codes."""

from __future__ import annotations

import functools
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from imaging.errors import RestoreError
from imaging.progress import ProgressToken
from imaging.text import UNPRINTABLE, printable
from server.grouped import grouped, parameters_of, with_parameters

if TYPE_CHECKING:
    from pydantic import BaseModel

DEBUG_VARIABLE = "RESTORE4K_DEBUG"
BAD_REQUEST, BUG, SIGNALLED = 2, 1, 128
STDERR = 2
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout, and nothing else.")]
Report = TypeVar("Report", bound="BaseModel")


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
    """The output of one command."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._stdout = sys.stdout

    def write(self, document: object, show: Callable[[Console], None]) -> None:
        """Write the JSON document, or what `show` prints without --json."""
        if self._as_json:
            self._stdout.write(_document(document))
        else:
            show(PlainConsole(self._stdout))

    def report(self, report: Report, show: Callable[[Console, Report], None]) -> None:
        """Write a report as JSON, or what `show` prints of it."""
        self.write(report.model_dump(mode="json"), lambda console: show(console, report))

    @property
    def can_ask(self) -> bool:
        """Whether a person can answer questions."""
        return not self._as_json and sys.stdin.isatty()

    def fail(self, kind: str, message: str, hint: str, code: int, **more: str) -> typer.Exit:
        """Report an error, and return the exit to raise."""
        message, hint = " ".join(message.split()), with_option_names(" ".join(hint.split()))
        line = f"error: {message}; {hint}" if hint else f"error: {message}"
        print(printable(line), file=sys.stderr)  # noqa: T201
        if self._as_json:
            problem = {"type": kind, "message": message, "hint": hint, **more}
            self._stdout.write(_document({"error": problem}))
        return typer.Exit(code)


@contextmanager
def answering(as_json: bool) -> Iterator[Answer]:
    """The output of the command in the block.

    Errors become one line on stderr (with --json also a document on stdout) and an exit code: 2 for a
    `RestoreError`, 1 for a bug, 130 after Ctrl-C.
    """
    answer = Answer(as_json)
    try:
        # Output of libraries must not end up in the JSON document.
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            yield answer
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        raise typer.Exit(SIGNALLED + signal.SIGINT) from None
    except RestoreError as error:
        raise answer.fail(type(error).__name__, error.message, error.hint, BAD_REQUEST) from None
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exception(error)
        name = type(error).__name__
        hint = f"set {DEBUG_VARIABLE}=1 for a traceback; please report it"
        raise answer.fail(name, f"unexpected {name}: {error}", hint, BUG) from None


def answered(function: Callable[..., None]) -> Callable[..., None]:
    """The function as a command: `grouped`, and with --json, by which its argument `answer` writes."""
    command = grouped(function, answer=None)
    as_json = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption)

    @functools.wraps(command)
    def run(*, as_json: bool, **values: Any) -> None:
        with answering(as_json) as answer:
            grouped(function, answer=answer)(**values)

    return with_parameters(run, [*parameters_of(command), as_json])


@contextmanager
def stopped_by_signals(token: ProgressToken) -> Iterator[Callable[[], int]]:
    """Let Ctrl-C and SIGTERM cancel `token`; a second one exits at once. The yielded function returns the signal."""
    received = [0]

    def stop(number: int, frame: FrameType | None) -> None:
        if received[0]:
            raise KeyboardInterrupt
        received[0] = number
        token.cancel()
        # Not by sys.stderr: the signal may have come within one of its writes, and then it refuses another.
        os.write(STDERR, b"stopping after the current tile; repeat to stop at once\n")

    stopping = (signal.SIGINT, signal.SIGTERM)
    before: dict[signal.Signals, Any] = {number: signal.signal(number, stop) for number in stopping}
    try:
        yield lambda: received[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
