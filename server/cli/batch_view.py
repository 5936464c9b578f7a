"""Progress of a batch on a terminal: a bar with a status line, and a line for every picture that fails."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from agent.batch.record import Entry
from agent.batch.runner import Tally
from server.batch_status import standing
from server.cli.console import in_options

LINE_SECONDS = 30.0
"""Time between two status lines without a terminal."""


class BatchView:
    """A batch listener that writes to stderr."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("looking for pictures", total=None)
        self._printed_at = time.monotonic()

    def __enter__(self) -> BatchView:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, tally: Tally, entry: Entry | None) -> None:
        """Show the progress."""
        if self._quiet:
            return
        if entry is not None and entry.status == "failed":
            self._console.print(f"failed: {entry.source}: {in_options(entry.reason)}")
        line = standing(tally)
        if tally.since is None and not tally.ended:
            self._bar.update(self._task, description=line)
            return
        completed = tally.ended + sum(tally.under_way.values())
        self._bar.update(self._task, total=tally.total, completed=completed, description=line)
        if not self._console.is_terminal and time.monotonic() - self._printed_at >= LINE_SECONDS:
            self._printed_at = time.monotonic()
            self._console.print(line)
