"""The folder of downloaded weights: which files there are, whether they are whole, which licences were accepted."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, field_validator

from imaging.atomic import atomic_write
from imaging.progress import ProgressToken
from toolbox.errors import WeightsError, WeightsMissing

MODELS_VARIABLE = "RESTORE4K_MODELS"
CHUNK = 1 << 20
SUFFIXES = (".safetensors", ".pth", ".ckpt", ".pt", ".pkl", ".onnx", ".mat", ".bin")
FOLDER_SUFFIXES = (".json", ".txt")
"""What else belongs to a model of several files, which has a folder of its own."""


class WeightFile(BaseModel):
    """One file that can be downloaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.+-]*/){0,3}[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=200)
    """Its name in the store, with `/` where it is part of a folder."""
    urls: tuple[str, ...] = ()
    """Where it is offered, `https://...` or `hf://owner/repository/path`; empty where only a person can fetch it."""
    size: int | None = Field(default=None, gt=0)
    """Bytes, where published."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Where published; otherwise what came first is remembered and held to."""

    @field_validator("urls")
    @classmethod
    def _known_scheme(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("https://", "hf://")):
                raise ValueError(f"{url!r} begins with neither https:// nor hf://")
        return urls

    @field_validator("name")
    @classmethod
    def _known_suffix(cls, name: str) -> str:
        known = SUFFIXES + FOLDER_SUFFIXES if "/" in name else SUFFIXES
        if not name.endswith(known):
            raise ValueError(f"{name!r} ends with none of {', '.join(known)}")
        return name


def default_folder() -> Path:
    """RESTORE4K_MODELS, otherwise `models` in the user's data folder."""
    return Path(os.environ.get(MODELS_VARIABLE) or platformdirs.user_data_path("restore4k") / "models").absolute()


@dataclass(frozen=True, slots=True)
class ModelStore:
    """A folder with weight files, and `index.json` with what is known of each."""

    folder: Path = field(default_factory=default_folder)

    def path(self, name: str) -> Path:
        """Where a file lies, or would."""
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether it is there; files get their name only when they are whole."""
        return self.path(name).is_file()

    def require(self, name: str, advice: str) -> Path:
        """Its path. Raises `WeightsMissing`."""
        if not self.has(name):
            raise WeightsMissing(f"{name} is not in {self.folder}", advice)
        return self.path(name)

    def files(self) -> Iterator[Path]:
        """All weight files, by name."""
        if self.folder.is_dir():
            yield from sorted(path for path in self.folder.iterdir() if path.name.endswith(SUFFIXES))

    def custom_card(self, expert: str) -> Path:
        """Where the card of an expert of the user's own lies, or would."""
        return self.folder / "cards" / f"{expert}.toml"

    def custom_cards(self) -> list[Path]:
        """The cards of the user's own experts, by name."""
        return sorted((self.folder / "cards").glob("*.toml"))

    def verify(self, file: WeightFile, token: ProgressToken | None = None) -> str:
        """The sha256 of the file as it lies there.

        Raises `WeightsMissing`, and `WeightsError` where it is not what was published, or not what came first.
        """
        path = self.require(file.name, f"restore4k models pull {file.name}")
        found = sha256_of(path, token)
        expected = file.sha256 or self._index().get("files", {}).get(file.name, {}).get("sha256")
        if expected and found != expected:
            raise WeightsError(
                f"{path} has sha256 {found}, not {expected}",
                f"restore4k models remove {file.name}, then pull it again",
            )
        return found

    def remember(self, name: str, **facts: object) -> None:
        """Keep facts about a file: sha256, url."""
        index = self._index()
        index.setdefault("files", {})[name] = facts
        self._write(index)

    def remove(self, name: str) -> int:
        """Delete a file and what is left of its download; the bytes that this freed."""
        freed = 0
        for path in (self.path(name), self.path(f"{name}.part")):
            if path.is_file():
                freed += path.stat().st_size
                path.unlink()
        index = self._index()
        if index.get("files", {}).pop(name, None):
            self._write(index)
        return freed

    def accepted(self) -> frozenset[str]:
        """The licences that the user has accepted."""
        return frozenset(self._index().get("licences", ()))

    def accept(self, licence: str) -> None:
        """Remember that the user has accepted a licence."""
        index = self._index()
        index["licences"] = sorted({*index.get("licences", ()), licence})
        self._write(index)

    def _index(self) -> dict[str, Any]:
        try:
            index = json.loads(self.path("index.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return index if isinstance(index, dict) else {}

    def _write(self, index: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path("index.json")) as temporary:
            temporary.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", "utf-8")


def sha256_of(path: Path, token: ProgressToken | None = None) -> str:
    """The file's sha256; tells `token` how far it is."""
    digest, size, done = hashlib.sha256(), max(1, path.stat().st_size), 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if token:
                token.report(done / size)
    return digest.hexdigest()
