"""The folder of a batch's internal files, inside its results: settings, record, thumbnails, unfinished work."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.batch.pictures import BATCH_FOLDER
from agent.batch.record import Entry
from agent.errors import BatchError
from imaging.atomic import atomic_write, make_folder, rename_new
from imaging.disk import FREE_IT, writing
from imaging.errors import OutputError
from imaging.opening import read_small
from profiles.schema import Profile

MAX_SETTINGS_BYTES = 1 << 20


class Settings(BaseModel):
    """The settings that all results of a folder share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """The folder of pictures."""
    profile: Profile
    suffix: str
    strip_metadata: bool = False
    keep_print_size: bool = False
    strength: float = 1.0
    region: str = ""
    """`RegionMask.key`; empty: the whole picture."""

    @property
    def digest(self) -> str:
        """Digest of the settings that affect a result."""
        text = f"{self.profile.model_dump_json()}{self.suffix}"
        text += "stripped" * self.strip_metadata + "print" * self.keep_print_size
        if self.strength < 1 or self.region:
            text += f"{self.strength} {self.region}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class BatchFolder:
    """The folder of a batch's internal files, below its results folder."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.path = results / BATCH_FOLDER
        self.record = self.path / "record.jsonl"
        """JSON lines with the outcome of every picture."""
        self.scratch = self.path / "scratch"
        """Folder of temporary files, removed at start and end."""
        self.runs = self.path / "runs"
        """Folder of kept run folders."""
        self._settings = self.path / "settings.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder inside the block. Raises `BatchError` and `OutputError`."""
        lock = filelock.FileLock(self.path / "lock", timeout=0)
        try:
            make_folder(self.path)
            folders = (self.scratch, self.path / "finished", self.path / "thumbnails")
            for folder in (self.path, self.runs, *folders):
                if folder.is_symlink():
                    raise OSError(errno.ELOOP, f"{folder.name} is a link")
            lock.acquire()
            shutil.rmtree(self.scratch, ignore_errors=True)
            for folder in folders:
                folder.mkdir(exist_ok=True)
        except filelock.Timeout as error:
            raise BatchError(f"another batch is writing to {self.results}", "wait until it has ended") from error
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be used: {error.strerror}", f"{FREE_IT}, or choose another folder"
            ) from error
        try:
            yield
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
            lock.release()

    def settings(self) -> Settings | None:
        """The settings of an earlier call; None without one."""
        try:
            return Settings.model_validate_json(read_small(self._settings, MAX_SETTINGS_BYTES, follow_link=False))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise BatchError(f"{self._settings} is damaged or of another version", "choose another folder") from error

    def adopt(self, settings: Settings, *, overwrite: bool) -> None:
        """Write the settings. Raises `BatchError` if an earlier call had different ones, unless `overwrite`."""
        before = self.settings()
        if before is not None and before != settings and not overwrite:
            raise BatchError(
                f"{self.results} holds results {_difference(before, settings)}",
                "choose another folder for these, or ask for overwriting",
            )
        with writing(self.path), atomic_write(self._settings) as temporary:
            temporary.write_text(settings.model_dump_json(indent=1), "utf-8")

    def finished(self, source: str, suffix: str) -> Path:
        """The path to which a worker writes a result, which is moved to the results once it is recorded."""
        return self.path / "finished" / f"{key_of(source)}{suffix}"

    def publish(self, entry: Entry) -> None:
        """Move a recorded result to its path. Raises `FileExistsError` if that exists, and `OSError`."""
        output, target = self.finished(entry.source, Path(entry.output).suffix), self.results / entry.output
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.replaces:
            output.replace(target)
        else:
            rename_new(output, target)
            output.unlink(missing_ok=True)

    def has(self, entry: Entry) -> bool:
        """Whether the result of an entry exists at its path, unchanged."""
        return _is(self.results / entry.output, entry)

    def has_unpublished(self, entry: Entry) -> bool:
        """Whether the result was recorded but not moved, because the process was killed in between."""
        return _is(self.finished(entry.source, Path(entry.output).suffix), entry)

    def thumbnails(self, source: str) -> tuple[Path, Path]:
        """Thumbnail files before and after."""
        key = key_of(source)
        return self.path / "thumbnails" / f"{key}-before.jpg", self.path / "thumbnails" / f"{key}-after.jpg"

    def save_thumbnails(self, source: str, before: bytes, after: bytes) -> None:
        """Save thumbnails for the summary."""
        with writing(self.path):
            for file, data in zip(self.thumbnails(source), (before, after), strict=True):
                with atomic_write(file) as temporary:
                    temporary.write_bytes(data)


def key_of(source: str) -> str:
    """A key of a picture for file names and sampling."""
    return hashlib.sha256(source.encode()).hexdigest()[:24]


def _is(file: Path, entry: Entry) -> bool:
    with suppress(OSError):
        status = os.stat(file)
        return (status.st_size, status.st_mtime_ns) == (entry.output_size, entry.output_modified_ns)
    return False


def _difference(before: Settings, now: Settings) -> str:
    if before.source != now.source:
        return f"of the pictures in {before.source}, not of those in {now.source}"
    if before.suffix != now.suffix:
        return f"in the format {before.suffix}, not {now.suffix}"
    for name in ("strip_metadata", "keep_print_size"):
        if getattr(before, name) != getattr(now, name):
            return f"{'with' if getattr(before, name) else 'without'} --{name.replace('_', '-')}"
    if before.strength != now.strength:
        return f"of strength {before.strength:g}, not {now.strength:g}"
    if before.region != now.region:
        return f"of {before.region or 'the whole picture'}, not of {now.region or 'the whole picture'}"
    old, new = before.profile.model_dump(), now.profile.model_dump()
    changed = [name for name in new if new[name] != old[name] and name != "about"]
    return f"by another profile ({', '.join(f'{name} {old[name]}, not {new[name]}' for name in changed)})"
