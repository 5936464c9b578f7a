"""Published networks for face detection, recognition and quality, and their files; listing them loads nothing."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolbox.store import ModelStore, WeightFile

YUNET, SFACE, EDIFFIQA = "yunet", "sface", "ediffiqa"


class FaceModel(BaseModel):
    """One network: a table of models.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: str
    licence: str
    page: str
    file: WeightFile


@cache
def face_models() -> dict[str, FaceModel]:
    """All face models by name."""
    tables = tomllib.loads((resources.files("toolbox") / "faces" / "models.toml").read_text("utf-8"))
    return {name: FaceModel(name=name, **table) for name, table in tables.items()}


def path_of(name: str, store: ModelStore) -> Path | None:
    """The path of a network's file; None if it was not downloaded."""
    file = face_models()[name].file.name
    return store.path(file) if store.has(file) else None
