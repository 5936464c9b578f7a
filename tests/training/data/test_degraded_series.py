"""Series of degraded pictures: drawn once, and shown to the quality network without their input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data

from imaging.convert import from_numpy, to_float
from imaging.image import Image
from toolbox.tasks import Task
from training.data import degraded_series
from training.data.candidate_dataset import Problem, StoredStep
from training.fits import quality
from training.fits.quality import SERIES, Steps, collect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two series, and one step without experts."""
    paths = [tmp_path / "astronaut.png", tmp_path / "cat.png"]
    for path, pixels in zip(paths, (skimage.data.astronaut(), skimage.data.chelsea()), strict=True):
        PIL.Image.fromarray(pixels[:160, :160]).save(path)
    degraded_series.draw(paths, 5, 1, tmp_path / SERIES)
    clean = Image(from_numpy(to_float(skimage.data.astronaut()[:96, :96])))
    dark = Image(clean.pixels * 0.5)
    step = StoredStep.fresh(Problem(dark, clean, Task.BRIGHTENING, 1), np.random.default_rng(0))
    step.save(tmp_path / "brightening" / "5-00000.npz")
    return tmp_path


def test_pictures_of_one_photo_differ_and_are_drawn_once(folder: Path) -> None:
    rows = json.loads((folder / SERIES / "rows.json").read_text())
    looks = np.load(folder / SERIES / "looks.npy")
    assert len(looks) == len(rows) == 2
    for of_one in rows:
        truths = [row["truth"] for row in of_one]
        assert len(set(truths)) == degraded_series.LENGTH
        assert all(0 < truth < 1 for truth in truths)
    before = (folder / SERIES / "looks.npy").stat().st_mtime_ns
    degraded_series.draw([], 6, 1, folder / SERIES)
    assert (folder / SERIES / "looks.npy").stat().st_mtime_ns == before


def test_series_are_seen_without_an_input_beside_steps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "STEPS_PER_BATCH", 1)
    monkeypatch.setattr(quality, "SERIES_PER_BATCH", 2)
    monkeypatch.setattr(quality, "BLIND", 0.0)
    collect(folder)
    steps = Steps(folder)
    chosen, blind = steps.batch(np.random.default_rng(0))
    assert list(blind) == [False] * 3 + [True] * 2 * degraded_series.LENGTH
    changed = np.abs(steps.pixels(chosen, blind, False).numpy()[:, :, 3:] - 0.5).max((1, 2, 3, 4))
    assert np.all(changed[3:] == 0)
    assert changed[:3].max() > 0.01
    assert sorted(steps.truth[chosen[3:]]) == sorted(np.float32([row["truth"] for row in _rows(folder)]))


def _rows(folder: Path) -> list[dict[str, float]]:
    return [row for of_one in json.loads((folder / SERIES / "rows.json").read_text()) for row in of_one]
