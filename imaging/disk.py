"""Free disk space, checked before work is done."""

from __future__ import annotations

import shutil
from pathlib import Path

from imaging.errors import ResourceError


def require_space(folder: Path, size: int) -> None:
    """Raise `ResourceError` unless the disk of `folder`, which need not exist yet, has `size` free bytes."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise ResourceError(f"the disk of {folder} has only {free >> 20} MiB left", "free some of it")
