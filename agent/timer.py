"""Measures the time of a run by section."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Timer:
    """Sums wall time by section. The time of an inner section does not count for the outer one."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self._seconds = dict(seconds or {})
        self._open: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Count the time inside the block as `name`."""
        self._accumulate()
        self._open.append(name)
        try:
            yield
        finally:
            self._accumulate()
            self._open.pop()

    def seconds(self) -> dict[str, float]:
        """Seconds by section so far; time outside of any section is `agent`."""
        self._accumulate()
        return dict(self._seconds)

    def total(self) -> float:
        """Seconds of all sections so far."""
        return sum(self.seconds().values())

    def _accumulate(self) -> None:
        now = time.perf_counter()
        name = self._open[-1] if self._open else "agent"
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._since
        self._since = now
