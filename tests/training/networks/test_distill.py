"""A student learns from a teacher's answers: first their pixels, then their texture; a stopped training goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.catalogue import default_catalogue
from toolbox.expert import load_expert
from training.data.teacher_pairs import load_pairs, teacher_pairs
from training.networks.distill import StudentRecipe, artifact_map, distill

RECIPE = StudentRecipe(
    name="student",
    about="",
    architecture="Compact",
    network={"num_feat": 8, "num_conv": 1, "upscale": 4},
    scale=4,
    degrade="second_order",
    patch=64,
    batch=2,
    steps=6,
    pixel_steps=3,
    learning_rate=1e-3,
    discriminator=4,
)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (300, 300, 3), np.uint8)]
    made = list(teacher_pairs(photos, load_expert(default_catalogue().card("lanczos_4x")), rng, count=4))
    assert [(given.shape, answer.shape) for given, answer in made] == [((64, 64, 3), (256, 256, 3))] * 4
    for folder in (tmp_path / "pairs", tmp_path / "pairs" / "held_out"):
        folder.mkdir()
        arrays = {
            name: np.stack(part) for name, part in zip(("inputs", "targets"), zip(*made, strict=True), strict=True)
        }
        np.savez(folder / "00000.npz", **arrays)
    return tmp_path / "pairs"


def test_the_answers_are_the_teachers(pairs: Path) -> None:
    inputs, targets = load_pairs(pairs)
    teacher = load_expert(default_catalogue().card("lanczos_4x"))
    given = torch.from_numpy(inputs[0]).permute(2, 0, 1).float() / 255
    answer = teacher(Image(given), ProgressToken()).pixels.permute(1, 2, 0).numpy() * 255
    assert np.abs(answer - targets[0]).max() < 1


def test_a_stopped_training_goes_on_into_its_adversarial_part(pairs: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    distill(RECIPE.model_copy(update={"steps": 2}), pairs, run_dir)
    judge = torch.load(run_dir / "discriminator.pt", weights_only=True)["network"]
    weights = load_file(run_dir / "student.safetensors")
    distill(RECIPE, pairs, run_dir)
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 6]
    assert all(0 < line["high_frequencies"] < 10 and line["psnr_to_teacher"] > 3 for line in lines)
    assert any(not torch.equal(judge[name], value) for name, value in _state(run_dir).items())
    trained = load_file(run_dir / "student.safetensors")
    assert any(not torch.equal(weights[name], value) for name, value in trained.items())


def _state(run_dir: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run_dir / "discriminator.pt", weights_only=True)["network"]
    return state


def test_artifacts_are_weighted_only_where_the_average_is_better() -> None:
    targets, output = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    output[..., 4:8, 4:8] = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    assert float(artifact_map(output, targets, targets).max()) > 0
    assert float(artifact_map(output, targets, 2 * output + 0.1).sum()) == 0
