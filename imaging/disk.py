"""Free disk space, checked before work is done, and recognition of errors of a full disk."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imaging.errors import OutputError, ResourceError

FREE_IT = "free or unlock its disk"
"""Advice for a file that cannot be written."""
FULL = (errno.ENOSPC, errno.EDQUOT)


def require_space(folder: Path, size: int) -> None:
    """Raise `ResourceError` unless the disk of `folder`, which need not exist yet, has `size` free bytes."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise ResourceError(f"the disk of {folder} has only {free >> 20} MiB left", "free some of it")


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Turn an `OSError` inside the block into an `OutputError`, which says that `what` cannot be written."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{what} cannot be written: {error.strerror or error}", FREE_IT) from error


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, means a full disk or an exceeded quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__
    return False
