"""Reports of benchmarks: benchmarks/reports/NAME.md with date, commit, machine and command above the figures."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

REPORTS = Path(__file__).parent / "reports"


@contextlib.contextmanager
def reported(name: str, title: str, *, preformatted: bool = False) -> Iterator[None]:
    """Copy what is printed to the report `name`; as a decorator of `main`, all that the benchmark prints.

    `preformatted`: the output is plain text with aligned columns, not Markdown. No report is written if an exception
    ends the benchmark or if nothing is printed.
    """
    copy = _Tee(sys.stdout)
    with contextlib.redirect_stdout(copy):
        yield
    if body := copy.getvalue().strip():
        save(name, title, f"```\n{body}\n```" if preformatted else body)


def save(name: str, title: str, body: str, *, command: str | None = None, commits: Sequence[str] = ()) -> Path:
    """Write benchmarks/reports/NAME.md and return its path.

    `command` defaults to the command line of this process, `commits` to the commit that is checked out.
    """
    head = (
        f"# {title}\n\n{datetime.now(UTC):%Y-%m-%d}, commit {', '.join(commits) or commit()}; {machine()}.\n\n"
        f"`{command or command_line()}`\n"
    )
    file = REPORTS / f"{name}.md"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{head}\n{body.strip()}\n", "utf-8")
    return file


def commit() -> str:
    """The commit that is checked out, with `-dirty` if files have changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, cwd=REPORTS.parent, capture_output=True, text=True, check=False)
        return done.stdout.strip() or "unknown"
    return "unknown"


def machine() -> str:
    """CPU model, GPU if there is one, cores, threads and version of torch."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    parts = [models[0] if models else platform.processor() or platform.machine()]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    parts += [f"{os.cpu_count()} cores", f"{torch.get_num_threads()} torch threads", f"torch {torch.__version__}"]
    return ", ".join(parts)


def command_line() -> str:
    """The command line of this process; of absolute paths only the last two parts."""
    arguments = [_shortened(argument) for argument in sys.argv[1:]]
    return " ".join((f"python -m benchmarks.{Path(sys.argv[0]).stem}", *map(shlex.quote, arguments)))


def _shortened(argument: str) -> str:
    path = Path(argument)
    return "/".join(("...", *path.parts[1:][-2:])) if path.is_absolute() else argument


class _Tee(io.StringIO):
    """Keeps what is written, and passes it on at once."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(text)
        self._stream.flush()
        return super().write(text)
