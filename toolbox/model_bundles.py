"""Model bundles: models of several files, each with its own folder in the store; listing them loads nothing."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict

from toolbox.store import WeightFile


class ModelBundle(BaseModel):
    """A model of several files: a table of model_bundles.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: str
    licence: str
    commercial: Literal["yes", "no", "ask"]
    page: str
    sources: tuple[str, ...]
    """URL prefixes, to which the file names are appended."""
    content: tuple[WeightFile, ...]
    """Its files, with their names inside the folder."""

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """Its files, with their names in the store and their URLs."""
        return tuple(
            file.model_copy(
                update={
                    "name": f"{self.name}/{file.name}",
                    "urls": tuple(f"{source}/{file.name}" for source in self.sources),
                }
            )
            for file in self.content
        )


@cache
def model_bundles() -> dict[str, ModelBundle]:
    """All bundles by name."""
    tables = tomllib.loads((resources.files("toolbox") / "model_bundles.toml").read_text("utf-8"))
    return {name: ModelBundle(name=name, **table) for name, table in tables.items()}
