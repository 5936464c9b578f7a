"""Atomic writing of files: a file that exists under its name is complete."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imaging.output import MOST_LEVELS


@contextmanager
def atomic_write(file: Path, *, sync: bool = False, overwrite: bool = True, suffix: str = "") -> Iterator[Path]:
    """Yield a temporary path beside `file`, and rename it to `file` at the end of the block.

    If the block raises, the temporary file is deleted and `file` stays as it was. With `sync` the data is on disk
    before it is renamed. Without `overwrite`, raises `FileExistsError` if `file` exists. `suffix` ends the
    temporary name, for writers that choose the format by it. `OSError` propagates.
    """
    temporary = file.with_name(f".{secrets.token_hex(8)}.part{suffix}")  # short, whatever the length of the name
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
        if overwrite:
            temporary.replace(file)
        else:
            rename_new(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def rename_new(source: Path, target: Path) -> None:
    """Rename `source` to `target`, or raise `FileExistsError` if `target` exists; the name `source` may remain."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(target) from None
        source.replace(target)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises `OSError`, also for more than `MOST_LEVELS`: `mkdir` is recursive."""
    if len(folder.parts) > MOST_LEVELS:
        raise OSError(errno.ENAMETOOLONG, "too many folders inside each other", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
