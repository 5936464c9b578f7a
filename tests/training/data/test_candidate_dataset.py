"""Drawn steps stay in their files, and follow the experts at the price of those that are new."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from imaging.convert import from_numpy, to_float
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.metrics.psnr import psnr
from toolbox.catalogue import Catalogue
from toolbox.expert import Expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.data import candidate_dataset as candidate_dataset
from training.data.candidate_dataset import HALF_RESTORED, KEEP_INPUT, Problem, StoredStep
from training.data.degradations import gaussian_noise
from training.data.failure_modes import FAILURES
from training.fits.quality import expert_priors, write_expert_priors

CHEAP = ("tv_denoise", "nlm_denoise")


@pytest.fixture(scope="module")
def truth() -> Image:
    return Image(from_numpy(to_float(skimage.data.astronaut()[100:196, 180:276])))


@pytest.fixture
def problem(truth: Image) -> Problem:
    pixels = truth.pixels.numpy().transpose(1, 2, 0)
    noisy = np.clip(gaussian_noise(pixels, np.random.default_rng(0), 25), 0, 1)
    return Problem(Image(from_numpy(np.rint(noisy * 255) / np.float32(255))), truth, Task.DENOISING, 1)


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the experts that ran; there are two cheap ones."""
    pool, names = (
        ExpertPool(Catalogue(tuple(card for card in ExpertPool().catalogue if card.name in CHEAP))),
        list[str](),
    )
    run = candidate_dataset.run_expert

    def counted(expert: Expert, image: Image, token: ProgressToken) -> Image:
        names.append(expert.card.name)
        return run(expert, image, token)

    monkeypatch.setattr(candidate_dataset, "run_expert", counted)
    monkeypatch.setattr(candidate_dataset, "_pool", lambda: pool)
    monkeypatch.setattr(candidate_dataset, "_versions", lambda task, scale: dict.fromkeys(CHEAP, "first"))
    return names


def test_stored_candidates_are_loaded_unchanged_and_nothing_runs_again(
    problem: Problem, ran: list[str], tmp_path: Path
) -> None:
    kept = StoredStep.fresh(problem, np.random.default_rng(1))
    assert kept.bring_up_to_date()
    kept.save(tmp_path / "2-00000.npz")
    again = StoredStep.load(tmp_path / "2-00000.npz")
    assert not again.bring_up_to_date()
    assert ran == list(CHEAP)
    first, second = kept.candidates(0), again.candidates(0)
    assert [(one.name, one.psnr_db, one.truth) for one in first] == [
        (one.name, one.psnr_db, one.truth) for one in second
    ]
    assert {KEEP_INPUT, HALF_RESTORED, *CHEAP} < {one.name for one in second}
    assert sum(one.from_expert for one in second) == 3


def test_only_an_expert_with_new_weights_runs_again(
    problem: Problem, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = StoredStep.fresh(problem, np.random.default_rng(1))
    kept.bring_up_to_date()
    ran.clear()
    monkeypatch.setattr(
        candidate_dataset, "_versions", lambda task, scale: {"tv_denoise": "first", "nlm_denoise": "second"}
    )
    assert kept.bring_up_to_date()
    assert ran == ["nlm_denoise"]
    monkeypatch.setattr(candidate_dataset, "_versions", lambda task, scale: {"tv_denoise": "first"})
    assert kept.bring_up_to_date()
    assert "nlm_denoise" not in kept.rows


def test_priors_are_written_for_the_tasks_that_were_asked_and_kept_for_others(
    problem: Problem, tmp_path: Path
) -> None:
    kept, table = StoredStep.fresh(problem, np.random.default_rng(1)), tmp_path / "expert_priors.toml"
    kept.bring_up_to_date()
    kept.save(tmp_path / "denoising" / "2-00000.npz")
    table.write_text("[denoising]\ngone = 0.5\n\n[deraining]\nkeep_input = -0.1\n", "utf-8")
    write_expert_priors(tmp_path, [Task.DENOISING], table)
    text = table.read_text("utf-8")
    assert "gone" not in text
    assert "tv_denoise" in text
    assert "[deraining]\nkeep_input = -0.1" in text


def test_a_prior_is_what_an_expert_is_better_than_the_mean_of_its_step() -> None:
    rows = [
        {"step": step, "task": "denoising", "name": name, "truth": truth}
        for step in range(4)
        for name, truth in (("good", 0.8), ("bad", 0.6))
    ]
    assert expert_priors(rows) == {"denoising": {"good": 0.05, "bad": -0.05}}


@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_spoils(failure: str, truth: Image) -> None:
    pixels = truth.pixels.numpy().transpose(1, 2, 0)
    for seed in range(3):
        failed = FAILURES[failure](np.ascontiguousarray(pixels), np.random.default_rng(seed))
        assert failed.dtype == np.float32
        assert psnr(Image(from_numpy(failed)), truth) < 40
