"""Pairs from processes: whole, matching, and new ones all the while."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from training.data.loading import photo_files
from training.data.pool import AT_FIRST, Pool
from training.recipe import Recipe


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Smooth pictures, no two alike."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        small = PIL.Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
        small.resize((300, 280), PIL.Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return photo_files(folder)


def recipe(degrade: str, scale: int) -> Recipe:
    return Recipe(
        name="test", about="", architecture="Compact", network={}, scale=scale, degrade=degrade,
        patch=64, batch=4, steps=10, learning_rate=1e-3,
    )  # fmt: skip


def test_a_reduced_patch_shows_the_same_place_as_its_target(photos: list[Path], tmp_path: Path) -> None:
    pool = Pool(recipe("bicubic", 4), photos, tmp_path, torch.device("cpu"), workers=2, size=8)
    batches = pool.batches()
    for _ in range(3):
        inputs, targets = next(batches)
        assert inputs.shape == (4, 3, 16, 16)
        assert targets.shape == (4, 3, 64, 64)
        assert inputs.is_contiguous(memory_format=torch.channels_last)
        assert (torch.nn.functional.avg_pool2d(targets, 4) - inputs).abs().mean() < 0.01
    assert float(targets.std()) > 0.05
    batches.close()


def test_regions_are_replaced_by_new_ones_without_end(photos: list[Path], tmp_path: Path) -> None:
    pool = Pool(recipe("noise", 1), photos, tmp_path, torch.device("cpu"), workers=1, size=4)
    batches = pool.batches()
    next(batches)
    before = pool.inputs.clone()
    while pool.count < 4 + AT_FIRST // 16:
        next(batches)
    assert (pool.inputs != before).flatten(1).any(1).all()
    batches.close()
