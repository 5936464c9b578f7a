"""The schema of recipes: one TOML file for each network."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from toolbox.tasks import Degradation


class Recipe(BaseModel):
    """The recipe of one network. The name of the file is the name of the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: str
    architecture: Literal["Compact", "DRUNet", "SPAN", "NAFNet", "ESRGAN"]
    network: dict[str, Any]
    """Arguments of the class of the network."""
    scale: Literal[1, 2, 4] = 1
    degrade: str
    """The degradation of the inputs: a name that `training.data.pairs.degrader` knows."""
    preprocessor: dict[Degradation, str] = Field(default_factory=dict)
    """Names of classical experts by degradation; the network gets their results as its input."""
    photos: str = ""
    """Folder below --data from which photos are taken; all folders if empty."""
    real_pairs: float = Field(default=0, ge=0, le=1)
    """Share of the patches that come from the folder of real pairs."""
    init: str | None = None
    """Name of the recipe whose weights, of a run beside this one or as shipped, initialise the network; or of a
    published network in ncnn's format beside the runs.
    """
    patch: int = Field(ge=32)
    """Side of the target patch in pixels."""
    batch: int = Field(ge=1)
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    charbonnier: float = Field(default=1e-3, gt=0)
    """The epsilon of the Charbonnier loss, for pixels in [0, 1]: errors below it are squared, larger ones are linear.
    Small values preserve edges, large values give some hundredths of a dB.
    """
    warm_up: int = Field(default=200, ge=1)
    """Steps of linear warm-up of the learning rate."""
    ema: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the averaged weights."""
    seed: int = 0
    share: float = Field(default=1, gt=0)
    """Share of the time of `training.networks.train_all`, relative to the other recipes."""
    cards: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Expert cards of these weights by name, without the keys that `training.networks.export` adds."""


def load_recipe(file: Path) -> Recipe:
    """Load a recipe from a TOML file. Raises pydantic's `ValidationError` with the wrong key."""
    return Recipe.model_validate({"name": file.stem, **tomllib.loads(file.read_text("utf-8"))})
