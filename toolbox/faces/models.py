"""Published networks about faces: what they are, and whether their files are here. Listing them loads nothing."""

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
    """All of them by name."""
    tables = tomllib.loads((resources.files("toolbox") / "faces" / "models.toml").read_text("utf-8"))
    return {name: FaceModel(name=name, **table) for name, table in tables.items()}


def path_of(name: str, store: ModelStore) -> Path | None:
    """Where a network's file lies; None where it is not here."""
    file = face_models()[name].file.name
    return store.path(file) if store.has(file) else None
