"""A student learns from a teacher's answers: first their pixels, then their texture; a stopped training goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from imaging.image import Image
from imaging.progress import ProgressToken
from tests.agent.scripted import expert
from toolbox.catalogue import default_catalogue, parse_cards
from toolbox.expert import load_expert
from toolbox.network import NetworkExpert
from toolbox.tasks import Task
from training.data.teacher_pairs import TEACHER, load_pairs, second_stage_pairs, teacher_pairs
from training.networks.architectures import build
from training.networks.distill import (
    StudentRecipe,
    StudentRun,
    artifact_map,
    distill,
    load_student_recipe,
    stored_pairs,
    without_blocks,
)
from training.networks.export import export_student

STUDENTS = Path(__file__).parents[3] / "training" / "recipes" / "students"
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
    examples = list(teacher_pairs(photos, load_expert(default_catalogue().card("lanczos_4x")), rng, count=4))
    assert [(given.shape, answer.shape) for given, answer in examples] == [((64, 64, 3), (256, 256, 3))] * 4
    for folder in (tmp_path / "pairs", tmp_path / "pairs" / "held_out"):
        folder.mkdir()
        arrays = {
            name: np.stack(part)
            for name, part in zip(("inputs", "targets"), zip(*examples, strict=True), strict=True)
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
    distill(RECIPE.model_copy(update={"steps": 2}), stored_pairs(RECIPE, pairs), run_dir)
    judge = torch.load(run_dir / "discriminator.pt", weights_only=True)["network"]
    weights = load_file(run_dir / "student.safetensors")
    distill(RECIPE, stored_pairs(RECIPE, pairs), run_dir)
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 6]
    assert all(0 < line["high_frequencies"] < 10 and line["psnr_to_targets"] > 3 for line in lines)
    assert any(not torch.equal(judge[name], value) for name, value in _state(run_dir).items())
    trained = load_file(run_dir / "student.safetensors")
    assert any(not torch.equal(weights[name], value) for name, value in trained.items())


def test_inputs_of_a_second_stage_are_cut_out_of_enlarged_pictures() -> None:
    grey = expert(
        "grey_2x", Task.SUPER_RESOLUTION, lambda image: image.with_pixels(torch.full((3, 128, 128), 0.6)), 2
    )
    photos = [np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)]
    teacher = load_expert(default_catalogue().card("lanczos_4x"))
    pairs = list(second_stage_pairs(photos, teacher, np.random.default_rng(1), count=9, first_stages=[grey]))
    assert len(pairs) >= 9
    assert all(given.shape == (64, 64, 3) and (given == 153).all() for given, _ in pairs)
    assert all(answer.shape == (256, 256, 3) and (answer == 153).all() for _, answer in pairs)


def test_a_student_ships_with_its_distance_to_the_teacher(pairs: Path, tmp_path: Path) -> None:
    card = {"task": "super_resolution", "about": "", "halo": 16, "stands_in_for": "restore4k_sr_x4"}
    recipe = RECIPE.model_copy(update={"steps": 2, "cards": {"fast": card}})
    distill(recipe, stored_pairs(recipe, pairs), tmp_path / "run")
    weights, cards = tmp_path / "weights", tmp_path / "networks.toml"
    export_student(recipe, tmp_path / "run", load_pairs(pairs / "held_out"), weights, cards)
    figures = json.loads((weights / "student.json").read_text())
    assert figures["psnr_to_targets"] == pytest.approx(figures_of_run(tmp_path / "run"), abs=0.2)
    (found,) = parse_cards(cards.read_text(), "")
    assert (found.name, found.stands_in_for, found.scale) == ("fast", "restore4k_sr_x4", 4)
    assert found.source == "training/recipes/students/student.toml"


def figures_of_run(run_dir: Path) -> float:
    figure: float = json.loads((run_dir / "log.jsonl").read_text().splitlines()[-1])["psnr_to_targets"]
    return figure


def _state(run_dir: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run_dir / "discriminator.pt", weights_only=True)["network"]
    return state


def test_artifacts_are_weighted_only_where_the_average_is_better() -> None:
    targets, output = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    output[..., 4:8, 4:8] = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    assert float(artifact_map(output, targets, targets).max()) > 0
    assert float(artifact_map(output, targets, 2 * output + 0.1).sum()) == 0


def test_a_teacher_without_some_of_its_blocks_runs_the_others_in_their_order() -> None:
    def rrdbnet(blocks: int) -> Any:
        network = {"num_filters": 4, "num_blocks": blocks, "scale": 4}
        return build(RECIPE.model_copy(update={"architecture": "ESRGAN", "network": network})).eval()

    torch.manual_seed(0)
    teacher, student = rrdbnet(12), rrdbnet(3)
    student.load_state_dict(without_blocks(teacher.state_dict(), (1, 4, 11)))
    first, trunk, *rest = teacher.model
    features = first(pixels := torch.rand(1, 3, 8, 8))
    short = features
    for block in (1, 4, 11, 12):  # the last is the convolution after the blocks
        short = trunk.sub[block](short)
    output = torch.nn.Sequential(*rest)(features + short)
    with torch.inference_mode():
        torch.testing.assert_close(student(pixels), output)
        assert not torch.allclose(student(pixels), teacher(pixels))


@pytest.mark.slow
def test_the_student_of_real_esrgan_begins_as_its_teacher_without_blocks(tmp_path: Path) -> None:
    recipe = load_student_recipe(STUDENTS / "student_x4.toml")
    network = StudentRun(recipe, tmp_path).network
    teacher = load_expert(default_catalogue().card(TEACHER))
    assert isinstance(teacher, NetworkExpert)
    expected = without_blocks(teacher.descriptor.model.state_dict(), recipe.teacher_blocks)
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
