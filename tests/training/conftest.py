"""A small folder of real photos to train on, and a recipe small enough for a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

from training.recipe import Recipe


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks as small as these lose more than they gain by a second thread, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        photo = Image.fromarray(getattr(data, name)())
        for number, (left, top) in enumerate([(60, 60), (180, 120)]):
            photo.crop((left, top, left + 160, top + 140)).save(folder / f"{number}_{name}.png")
    return folder


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(
        name="small_x2",
        about="For tests.",
        architecture="Compact",
        network={"num_feat": 16, "num_conv": 2, "upscale": 2},
        scale=2,
        degrade="bicubic",
        patch=48,
        batch=4,
        steps=60,
        learning_rate=2e-3,
        warm_up=5,
        ema=0.9,
        cards={"small_x2": {"task": "super_resolution", "about": "A test.", "halo": 8}},
    )
