"""The models folder: downloaded weight files, their checksums, and the accepted licences."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from imaging.atomic import atomic_write
from imaging.opening import read_small
from imaging.progress import ProgressToken
from toolbox.errors import WeightsError, WeightsMissing

MODELS_VARIABLE = "RESTORE4K_MODELS"
CHUNK = 1 << 20
MAX_INDEX_BYTES = 16 << 20
log = logging.getLogger("restore4k")
SUFFIXES = (".safetensors", ".pth", ".ckpt", ".pt", ".pkl", ".onnx", ".mat", ".param", ".bin")
FOLDER_SUFFIXES = (".json", ".txt", ".data")
"""Further suffixes that are allowed in the folder of a model of several files."""


class WeightFile(BaseModel):
    """A weight file and where it can be downloaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.+-]*/){0,3}[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=200)
    """Its path in the store; a file of a model bundle is in the bundle's folder."""
    urls: tuple[str, ...] = ()
    """Sources, `https://...` or `hf://owner/repository/path`; empty if it must be downloaded by hand."""
    size: int | None = Field(default=None, gt=0)
    """Size in bytes, if published."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Checksum, if published; otherwise the checksum of the first download is stored and verified later."""

    @field_validator("urls")
    @classmethod
    def _known_scheme(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("https://", "hf://")):
                raise ValueError(f"{url!r} starts with neither https:// nor hf://")
        return urls

    @field_validator("name")
    @classmethod
    def _known_suffix(cls, name: str) -> str:
        known = SUFFIXES + FOLDER_SUFFIXES if "/" in name else SUFFIXES
        if not name.endswith(known):
            raise ValueError(f"{name!r} ends with none of {', '.join(known)}")
        return name


class _Index(BaseModel):
    """Checked files of the store, and accepted licences."""

    model_config = ConfigDict(extra="ignore")

    files: dict[str, dict[str, Any]] = {}
    licences: list[str] = []


def default_folder() -> Path:
    """The models folder: $RESTORE4K_MODELS, by default `models` in the user's data folder."""
    return Path(os.environ.get(MODELS_VARIABLE) or platformdirs.user_data_path("restore4k") / "models").absolute()


@dataclass(frozen=True, slots=True)
class ModelStore:
    """A folder with weight files, and `index.json` with their checksums and sources."""

    folder: Path = field(default_factory=default_folder)

    def path(self, name: str) -> Path:
        """The path of a file, whether it exists or not."""
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether the file exists; files get their final name only when they are complete."""
        return self.path(name).is_file()

    def require(self, name: str, advice: str) -> Path:
        """The path of an existing file. Raises `WeightsMissing`, with `advice`."""
        if not self.has(name):
            raise WeightsMissing(f"{name} is not in {self.folder}", advice)
        return self.path(name)

    def files(self) -> Iterator[Path]:
        """All weight files, sorted by name."""
        if self.folder.is_dir():
            yield from sorted(path for path in self.folder.iterdir() if path.name.endswith(SUFFIXES))

    def custom_card(self, expert: str) -> Path:
        """The path of a custom model's card, whether it exists or not."""
        return self.folder / "cards" / f"{expert}.toml"

    def custom_cards(self) -> list[Path]:
        """The cards of all custom models, sorted by name."""
        return sorted((self.folder / "cards").glob("*.toml"))

    def wrong_size(self, file: WeightFile) -> int | None:
        """The size of a file in the store if it differs from the published one; None if it fits or is missing."""
        if file.size is None or not self.has(file.name):
            return None
        size = self.path(file.name).stat().st_size
        return size if size != file.size else None

    def check_once(self, file: WeightFile) -> None:
        """Verify the checksum of a file in the store when it is first used, and again when it has changed.

        Raises `WeightsError`.
        """
        if not self.has(file.name):
            return
        status = self.path(file.name).stat()
        state = [status.st_size, status.st_mtime_ns]
        facts = self._index().files.get(file.name, {})
        if facts.get("checked") == state or not (file.sha256 or facts.get("sha256")):
            return
        found = self.verify(file)
        with suppress(OSError):  # a read-only folder is verified each time
            self.remember(file.name, **{**facts, "sha256": found, "checked": state})

    def verify(self, file: WeightFile, token: ProgressToken | None = None) -> str:
        """The sha256 of the file in the store.

        Raises `WeightsMissing`, and `WeightsError` if it differs from the published or the stored checksum.
        """
        path = self.require(file.name, f"restore4k models pull {file.name}")
        found = sha256_of(path, token)
        expected = file.sha256 or self._index().files.get(file.name, {}).get("sha256")
        if expected and found != expected:
            raise WeightsError(
                f"{path} has sha256 {found}, not {expected}",
                f"restore4k models remove {file.name}, then pull it again",
            )
        return found

    def remember(self, name: str, **facts: object) -> None:
        """Store properties of a file in the index: sha256, url."""
        index = self._index()
        index.files[name] = facts
        self._write(index)

    def remove(self, name: str) -> int:
        """Delete a file and its partial download. Returns the freed bytes."""
        freed = 0
        for path in (self.path(name), self.path(f"{name}.part")):
            if path.is_file():
                freed += path.stat().st_size
                path.unlink()
                if path.parent != self.folder:
                    with suppress(OSError):  # not empty yet
                        path.parent.rmdir()
        index = self._index()
        if index.files.pop(name, None):
            self._write(index)
        return freed

    def accepted(self) -> frozenset[str]:
        """The licences that the user has accepted."""
        return frozenset(self._index().licences)

    def accept(self, licence: str) -> None:
        """Store that the user has accepted a licence."""
        index = self._index()
        index.licences = sorted({*index.licences, licence})
        self._write(index)

    def _index(self) -> _Index:
        """The index; a damaged one is renamed, because the next change would replace it."""
        path = self.path("index.json")
        try:
            return _Index.model_validate_json(read_small(path, MAX_INDEX_BYTES))
        except OSError:  # none yet
            return _Index()
        except ValidationError:
            aside = path.with_name("index.json.damaged")
            with suppress(OSError):
                path.replace(aside)
            log.warning("%s is damaged and was renamed to %s; models are verified again", path, aside.name)
            return _Index()

    def _write(self, index: _Index) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path("index.json")) as temporary:
            temporary.write_text(index.model_dump_json(indent=2) + "\n", "utf-8")


def sha256_of(path: Path, token: ProgressToken | None = None) -> str:
    """The sha256 of a file; reports progress to `token`."""
    digest, size, done = hashlib.sha256(), max(1, path.stat().st_size), 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if token:
                token.report(done / size)
    return digest.hexdigest()
