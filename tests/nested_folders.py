"""Folders that are nested more deeply than function calls, which pytest cannot delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEVELS = 1200


@contextmanager
def nested_folders(folder: Path) -> Iterator[Path]:
    """Make folders called `d` inside each other, yield the innermost, and delete them with their files."""
    made = [folder]
    for _ in range(LEVELS):
        made.append(made[-1] / "d")
        made[-1].mkdir()  # one by one: `mkdir` with parents is recursive
    try:
        yield made[-1]
    finally:
        for one in reversed(made[1:]):
            for file in one.iterdir():
                file.unlink()
            one.rmdir()
