"""A disk that becomes full: from some write on, those below a folder fail as the system lets them fail."""

from __future__ import annotations

import builtins
import errno
import io
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest


class FullDisk:
    """The disk of a folder, full from the `number`-th event of a kind on."""

    STAGES = ("opened", "written", "synced", "named")

    def __init__(self, folder: Path, stage: str, number: int = 0) -> None:
        self._folder, self._stage, self._left = folder, stage, number
        self._spare: Path | None = None
        self._streams: list[Any] = []

    def fill(self, patch: pytest.MonkeyPatch, spare: Path | None = None) -> None:
        """Let it be so; `spare`: a folder below that is on another disk."""
        self._spare = spare
        open_file, sync = io.open, os.fsync

        def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if not set(mode) & set("wax+") or not self._holds(file):
                return open_file(file, mode, *args, **options)
            self._happens("opened")
            stream = open_file(file, mode, *args, **options)
            self._streams.append(stream)
            return _Stream(stream, self)

        def synced(descriptor: int) -> None:
            # A closed stream's descriptor may be another file's by now, on a disk that is not full.
            if any(not stream.closed and stream.fileno() == descriptor for stream in self._streams):
                self._happens("synced")
            sync(descriptor)

        for module in (io, builtins):
            patch.setattr(module, "open", opened)
        patch.setattr(os, "fsync", synced)
        for name in ("rename", "replace", "link"):
            patch.setattr(os, name, partial(self._named, getattr(os, name)))

    def _named(self, do: Any, source: Any, target: Any, **options: Any) -> None:
        if self._holds(target):
            self._happens("named")
        do(source, target, **options)

    def _holds(self, file: Any) -> bool:
        if isinstance(file, int):
            return False
        path = Path(os.fsdecode(file))
        return path.is_relative_to(self._folder) and not (self._spare and path.is_relative_to(self._spare))

    def _happens(self, stage: str) -> None:
        if self._stage == stage:
            self._left -= 1
        if self._left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Stream:
    """A file for writing, of which half of what is written fits."""

    def __init__(self, stream: Any, disk: FullDisk) -> None:
        self._stream, self._disk = stream, disk

    def write(self, data: Any) -> int:
        try:
            self._disk._happens("written")
        except OSError:
            self._stream.write(data[: len(data) // 2])
            raise
        written: int = self._stream.write(data)
        return written

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.write(part)

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Any:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def unfinished(folder: Path) -> list[str]:
    """Files below a folder under temporary names."""
    return [str(file) for file in folder.rglob("*") if ".part" in file.name or file.name.startswith(".")]
