"""What a recipe may say: one TOML file for one network."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from toolbox.tasks import Degradation


class Recipe(BaseModel):
    """How one network is trained. The file's name is the network's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: str
    architecture: Literal["Compact", "DRUNet", "SPAN", "NAFNet"]
    network: dict[str, Any]
    """Arguments of the network's class."""
    scale: Literal[1, 2, 4] = 1
    degrade: str
    """What the inputs suffer from: a name that `training.data.pairs.degrader` knows."""
    preprocessor: dict[Degradation, str] = Field(default_factory=dict)
    """Names of classical experts by degradation, whose work the network learns to finish."""
    photos: str = ""
    """Folder below --data whose pictures alone are used; all of them where it is empty."""
    real_pairs: float = Field(default=0, ge=0, le=1)
    """Share of the patches that comes from the folder of real pairs."""
    init: str | None = None
    """Name of the recipe whose weights are the beginning: a run beside this one, or what is shipped."""
    patch: int = Field(ge=32)
    """Side of the target patch."""
    batch: int = Field(ge=1)
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    charbonnier: float = Field(default=1e-3, gt=0)
    """Difference (of pixels in [0, 1]) up to which the loss is about a square, and beyond which about linear: small
    ones keep edges, large ones give the last hundredths of a dB.
    """
    warm_up: int = Field(default=200, ge=1)
    ema: float = Field(default=0.999, ge=0, lt=1)
    seed: int = 0
    share: float = Field(default=1, gt=0)
    """Of the time that `training.networks.train_all` has, relative to the other recipes."""
    cards: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Expert cards that these weights serve, by name, without the keys that `training.networks.export` knows itself.
    """


def load_recipe(file: Path) -> Recipe:
    """The recipe in a TOML file; pydantic's error names the key that is wrong."""
    return Recipe.model_validate({"name": file.stem, **tomllib.loads(file.read_text("utf-8"))})
