"""Pictures that look degraded and are not: their plan cleans and brightens nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from skimage import data
from typer.testing import CliRunner

from server.cli.app import app

SIDE = 240
CLEANING = {"denoising", "brightening", "dehazing", "deraining", "jpeg_artifact_removal", "motion_deblurring"}


def mosaic() -> np.ndarray:
    """Tiles of 6x6 pixels whose colours differ from tile to tile, with dark grout."""
    rng = np.random.default_rng(3)
    colours = data.astronaut()[:SIDE:6, :SIDE:6] + rng.normal(0, 20, (SIDE // 6, SIDE // 6, 3))
    tiles = np.kron(colours, np.ones((6, 6, 1)))
    tiles[::6] = tiles[:, ::6] = 70
    return tiles


def night_sky() -> np.ndarray:
    """A dark gradient with stars of several sizes."""
    rng = np.random.default_rng(3)
    sky = np.linspace(4, 24, SIDE)[:, None, None] * np.array([0.5, 0.6, 1.0]) * np.ones((SIDE, SIDE, 3))
    rows, columns = np.mgrid[-3:4, -3:4]
    for top, left in rng.integers(0, SIDE - 7, (150, 2)):
        star = np.exp(-(rows**2 + columns**2) / rng.uniform(0.7, 2.0))
        sky[top : top + 7, left : left + 7] += 255 * rng.random() ** 3 * star[:, :, None]
    return sky


def planned(pixels: np.ndarray, folder: Path) -> set[str]:
    file = folder / "picture.png"
    PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file)
    result = CliRunner().invoke(app, ["plan", str(file), "--json"])
    assert result.exit_code == 0, result.output
    return {step["task"] for step in json.loads(result.stdout)["steps"]}


@pytest.mark.parametrize("picture", [mosaic, night_sky])
def test_clean_mosaics_and_night_skies_are_neither_cleaned_nor_brightened(
    picture: Callable[[], np.ndarray], tmp_path: Path
) -> None:
    assert not planned(picture(), tmp_path) & CLEANING


def test_a_noisy_photo_is_cleaned(tmp_path: Path) -> None:
    photo = data.astronaut()[:SIDE, :SIDE] + np.random.default_rng(0).normal(0, 30, (SIDE, SIDE, 3))
    assert "denoising" in planned(photo, tmp_path)


def test_a_night_photo_that_stays_dark_is_told_with_the_reason(tmp_path: Path) -> None:
    """In words and in JSON, so that a person can ask for more light."""
    file, result = tmp_path / "night.png", tmp_path / "result.png"
    PIL.Image.fromarray((data.astronaut()[:SIDE, :SIDE] * 0.12).astype(np.uint8)).save(file)
    command = ["restore", str(file), "--output", str(result), "--runs", str(tmp_path / "runs"), "--max-runs", "1"]
    told = CliRunner().invoke(app, [*command, "--quiet"])
    assert told.exit_code == 0, told.output
    lines = [line for line in told.stdout.splitlines() if line.startswith("left:")]
    assert any("dark" in line and "brightening" in line for line in lines), told.stdout
    again = CliRunner().invoke(app, [*command, "--json", "--overwrite"])
    assert any("dark" in reason for reason in json.loads(again.stdout)["left"])
