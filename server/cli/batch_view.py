"""Progress of a batch on a terminal: a bar with a status line, and a line for every picture that fails."""

from __future__ import annotations

import time

from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from agent.batch.record import Entry
from agent.batch.runner import Tally
from server.cli.console import with_option_names
from server.cli.progress_view import TerminalView

LINE_SECONDS = 30.0
"""Time between two status lines without a terminal."""


class BatchView(TerminalView):
    """Shows a batch."""

    def __init__(self, *, quiet: bool) -> None:
        columns = SpinnerColumn(), BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
        super().__init__("looking for pictures", None, *columns, quiet=quiet)
        self._printed_at = time.monotonic()

    def __call__(self, tally: Tally, entry: Entry | None) -> None:
        """Show the progress."""
        if self._quiet:
            return
        if entry is not None and entry.status == "failed":
            self._console.print(f"failed: {entry.source}: {with_option_names(entry.reason)}")
        line = tally.status
        if tally.since is None and not tally.ended:
            self._bar.update(self._task, description=line)
            return
        completed = tally.ended + sum(tally.under_way.values())
        self._bar.update(self._task, total=tally.total, completed=completed, description=line)
        if not self._console.is_terminal and time.monotonic() - self._printed_at >= LINE_SECONDS:
            self._printed_at = time.monotonic()
            self._console.print(line)
