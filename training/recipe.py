"""What a recipe may say: one TOML file for one network."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

NETWORKS = {
    "Compact": "spandrel.architectures.Compact.__arch.SRVGG:SRVGGNetCompact",
    "DRUNet": "spandrel.architectures.DRUNet.__arch.network_unet:UNetRes",
    "SPAN": "spandrel.architectures.SPAN.__arch.span:SPAN",
    "NAFNet": "spandrel.architectures.NAFNet.__arch.NAFNet_arch:NAFNet",
}
"""Spandrel's own classes, so that what is trained is what is loaded."""


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
    """Which maker of training pairs, a name in training/pairs.py, with the degradations after a colon."""
    init: str | None = None
    """Name of a recipe whose shipped weights are the beginning."""
    patch: int = Field(ge=32)
    """Side of the target patch."""
    batch: int = Field(ge=1)
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warm_up: int = 200
    ema: float = Field(default=0.999, ge=0, lt=1)
    seed: int = 0


def load_recipe(file: Path) -> Recipe:
    """The recipe in a TOML file; pydantic's error names the key that is wrong."""
    return Recipe.model_validate({"name": file.stem, **tomllib.loads(file.read_text("utf-8"))})


def build_network(recipe: Recipe) -> nn.Module:
    """A fresh network of spandrel's class."""
    module, name = NETWORKS[recipe.architecture].split(":")
    network: nn.Module = getattr(importlib.import_module(module), name)(**recipe.network)
    return network
