"""The record of a batch: a JSON line for every finished picture; the last line of a picture counts."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, field_validator

from agent.run import StepTaken
from imaging.disk import FREE_IT, writing
from imaging.errors import OutputError
from imaging.opening import no_link


class Figures(BaseModel):
    """Facts about a restored picture."""

    model_config = ConfigDict(frozen=True)

    width: int
    height: int
    plan: tuple[str, ...]
    steps: tuple[StepTaken, ...]
    quality: FiniteFloat
    """Quality of the input, 0..1."""
    gain: FiniteFloat
    """Sum of the steps' score gains over keeping the input, without super-resolution."""
    seconds: FiniteFloat
    warnings: tuple[str, ...] = ()
    run: str = ""
    """Identifier of the run, if its folder is kept."""


class Entry(BaseModel):
    """The outcome of a picture."""

    model_config = ConfigDict(frozen=True)

    source: str
    """Path of the picture below the source folder."""
    status: Literal["done", "failed"]
    reason: str = ""
    """Reason of a failure."""
    blocked: bool = False
    """It failed because a file exists at the place of its result; retried once that file is gone."""
    output: str = ""
    """Path of the result below the results folder."""
    figures: Figures | None = None
    at: str
    """Time of the outcome in UTC."""
    settings: str
    """`Settings.digest`."""
    size: int
    modified_ns: int
    """Modification time of the source, which is restored again when its size or time changes."""
    output_size: int = 0
    output_modified_ns: int = 0
    """Modification time of the result; if its size or time changes, the file is no longer this batch's.

    A failure keeps the values of the previous result."""
    replaces: bool = False
    """The result may replace a file: an earlier result of this batch, or any file if overwriting."""

    @field_validator("output")
    @classmethod
    def _below_the_results(cls, output: str) -> str:
        path = PurePosixPath(output)
        if path.is_absolute() or ".." in path.parts or "\0" in output:
            raise ValueError(f"{output!r} is not below the results folder")
        return output


class Record:
    """An append-only file, and an index of it.

    The file is authoritative. The index is rebuilt from it in a temporary database on disk, so that memory does not
    grow with the number of pictures. An incomplete last line is ignored.
    """

    def __init__(self, file: Path) -> None:
        try:
            with ExitStack() as unless_open:
                self._stream = unless_open.enter_context(open(file, "a+b", opener=no_link))
                with _index_is_usable():
                    self._index = sqlite3.connect("")  # a temporary database on disk
                    unless_open.callback(self._index.close)
                    self._index.execute("PRAGMA journal_mode=OFF")
                    self._index.execute("CREATE TABLE latest (source TEXT PRIMARY KEY, place INTEGER) WITHOUT ROWID")
                self._read()
                unless_open.pop_all()
        except OSError as error:
            raise OutputError(f"the record {file} cannot be opened: {error.strerror}", FREE_IT) from error

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()
        with suppress(OSError):  # raised again for the line that `append` could not write
            self._stream.close()

    def append(self, entry: Entry) -> None:
        """Append a line and sync it to disk. Raises `OutputError`."""
        with writing("the record"):
            place = self._stream.seek(0, os.SEEK_END)
            self._stream.write(entry.model_dump_json().encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self._note(entry.source, place)

    def latest(self, source: str) -> Entry | None:
        """The last entry of a picture."""
        with _index_is_usable():
            row = self._index.execute("SELECT place FROM latest WHERE source = ?", (source,)).fetchone()
        return self._entry(row[0]) if row else None

    def entries(self) -> Iterator[Entry]:
        """The last entry of every picture, sorted by name."""
        with _index_is_usable():
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
            self._stream.write(b"\n")  # the next entry starts on a new line

    def _note(self, source: str, place: int) -> None:
        with _index_is_usable():
            self._index.execute("INSERT OR REPLACE INTO latest VALUES (?, ?)", (source, place))

    def _entry(self, place: int) -> Entry:
        self._stream.seek(place)
        return Entry.model_validate_json(self._stream.readline())


@contextmanager
def _index_is_usable() -> Iterator[None]:
    """Turn an error of the temporary database into an `OutputError`."""
    try:
        yield
    except sqlite3.Error as error:
        where = "free the disk of temporary files, or set SQLITE_TMPDIR to a folder on another one"
        raise OutputError(f"the index of the batch cannot be kept: {error}", where) from error
