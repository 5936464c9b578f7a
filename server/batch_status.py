"""The status line of a batch, for the command line and for MCP progress."""

from __future__ import annotations

from agent.batch.runner import Tally
from agent.report.text import duration


def standing(tally: Tally) -> str:
    """The progress of a batch in one line."""
    if tally.since is None and not tally.ended:
        return f"looking for pictures: {tally.total}"
    parts = [f"{tally.ended} of {tally.total} pictures", f"{tally.failed + tally.failed_before} failed"]
    if tally.done_before:
        parts.append(f"{tally.done_before} done in earlier calls")
    if rate := tally.per_second:
        parts.append(f"{rate:.2g} per second" if rate >= 1 else f"{duration(1 / rate)} each")
    if (left := tally.seconds_left) is not None:
        parts.append(f"{duration(max(left, 0))} left")
    return ", ".join(parts)
