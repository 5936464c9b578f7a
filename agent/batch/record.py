"""The record of a batch: a line of JSON for every picture that has ended, the last one of a picture counts."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.batch.engines.work import Figures
from imaging.errors import OutputError


class Entry(BaseModel):
    """What became of a picture."""

    model_config = ConfigDict(frozen=True)

    source: str
    """Its path below the folder of pictures."""
    status: Literal["done", "failed"]
    reason: str = ""
    """Why it failed."""
    blocked: bool = False
    """It failed because something stood where its result goes: tried again as soon as that is gone."""
    output: str = ""
    """Path of the result below the folder of results."""
    figures: Figures | None = None
    at: str
    """When, in UTC."""
    settings: str
    """Digest of profile and format."""
    size: int
    modified_ns: int
    """Of the source; it is done again when either changes."""
    output_size: int = 0
    output_modified_ns: int = 0
    """Of the result; when either changes it is somebody else's. A failure keeps those of the result before it."""
    replaces: bool = False
    """What stood at its place was a result of ours, or overwriting was asked for."""


class Record:
    """The file, to which lines are only added, and an index to it.

    The file alone is the truth. The index is made anew from it and lies in a temporary file, so that neither grows
    in memory with the number of pictures. A line that a kill cut short does not count.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._stream = file.open("a+b")
            self._index = sqlite3.connect("")  # on disk, and gone when it is closed
            self._index.execute("PRAGMA journal_mode=OFF")
            self._index.execute("CREATE TABLE latest (source TEXT PRIMARY KEY, place INTEGER) WITHOUT ROWID")
            self._read()
        except OSError as error:
            raise OutputError(f"the record {file} cannot be kept: {error.strerror}", "free or unlock it") from error

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._index.close()
        self._stream.close()

    def append(self, entry: Entry) -> None:
        """Add a line; it is on disk when this returns. Raises `OutputError`."""
        try:
            place = self._stream.seek(0, os.SEEK_END)
            self._stream.write(entry.model_dump_json().encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise OutputError(f"the record cannot be written: {error.strerror}", "free the disk") from error
        self._note(entry.source, place)

    def latest(self, source: str) -> Entry | None:
        """The last line of a picture."""
        row = self._index.execute("SELECT place FROM latest WHERE source = ?", (source,)).fetchone()
        return self._entry(row[0]) if row else None

    def entries(self) -> Iterator[Entry]:
        """The last line of every picture, by name."""
        for (place,) in self._index.execute("SELECT place FROM latest ORDER BY source"):
            yield self._entry(place)

    def _read(self) -> None:
        place = self._stream.seek(0)
        line = b""
        for line in self._stream:
            with suppress(ValidationError):
                self._note(Entry.model_validate_json(line).source, place)
            place += len(line)
        if line and not line.endswith(b"\n"):
            self._stream.write(b"\n")  # what comes next begins on a line of its own

    def _note(self, source: str, place: int) -> None:
        self._index.execute("INSERT OR REPLACE INTO latest VALUES (?, ?)", (source, place))

    def _entry(self, place: int) -> Entry:
        self._stream.seek(place)
        return Entry.model_validate_json(self._stream.readline())
