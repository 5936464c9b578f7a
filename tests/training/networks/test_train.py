"""Training small networks for real: they learn, resume, and ship in spandrel's format."""

from __future__ import annotations

import json
import shutil
import threading
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from imaging.progress import ProgressToken
from imaging.reading import read_image
from toolbox.catalogue import parse_cards
from toolbox.network import load_network
from toolbox.store import ModelStore
from toolbox.tasks import Degradation
from training.data.deconvolution_pairs import deconvolution_pair, deconvolution_patches
from training.data.loading import load_photo, photo_files, shrink
from training.data.measure import Gain
from training.networks import train as trainer
from training.networks.architectures import begin, build, forward
from training.networks.evaluate import expert_of, super_resolution_db
from training.networks.export import cards_worth_adding, export, put_cards
from training.networks.train import Run, train
from training.recipe import Recipe, load_recipe

RECIPES = sorted((Path(__file__).parents[3] / "training" / "recipes").glob("*.toml"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """hr/ and lr_x2/ of two photos."""
    folder = tmp_path_factory.mktemp("pairs")
    for part in ("hr", "lr_x2"):
        (folder / part).mkdir()
    for file in sorted(photos.glob("*_chelsea.png")):
        whole = np.asarray(Image.open(file))
        Image.fromarray(whole).save(folder / "hr" / file.name)
        Image.fromarray(shrink(whole, 2)).save(folder / "lr_x2" / file.name)
    return folder


@pytest.fixture(scope="module")
def trained(recipe: Recipe, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A recipe and its finished run."""
    longer, run = recipe.model_copy(update={"steps": 500, "learning_rate": 4e-3}), tmp_path_factory.mktemp("trained")
    train(longer, photos, run)
    return longer, run


def log_of(run_dir: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]


def test_a_short_training_beats_bicubic_on_a_held_out_photo(trained: tuple[Recipe, Path]) -> None:
    gain = log_of(trained[1])[-1]["bicubic"]
    assert isinstance(gain, dict)
    assert gain["output_db"] > gain["input_db"]


def test_a_stopped_training_resumes(recipe: Recipe, photos: Path, tmp_path: Path) -> None:
    train(recipe.model_copy(update={"steps": 20}), photos, tmp_path / "run")
    first = load_file(tmp_path / "run" / "small_x2.safetensors")
    train(recipe.model_copy(update={"steps": 30}), photos, tmp_path / "run")
    second = load_file(tmp_path / "run" / "small_x2.safetensors")
    assert [line["step"] for line in log_of(tmp_path / "run")] == [20, 30]
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_brings_back_weights_average_and_optimiser(recipe: Recipe, photos: Path, tmp_path: Path) -> None:
    batch = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 32, 32)
    run = Run(recipe, tmp_path, training_photos=1)
    for _ in range(3):
        run.take_step(*batch)
    run.save()
    resumed = Run(recipe, tmp_path, training_photos=1)
    assert resumed.step == 3
    assert run.take_step(*batch) == pytest.approx(resumed.take_step(*batch), rel=1e-3)
    assert run.take_step(*batch) == pytest.approx(resumed.take_step(*batch), rel=1e-3)


def test_a_checkpoint_without_a_schedule_resumes_at_the_rate_of_its_step(recipe: Recipe, tmp_path: Path) -> None:
    batch = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 32, 32)
    run = Run(recipe, tmp_path, training_photos=1)
    for _ in range(10):
        run.take_step(*batch)
    run.save()
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    (group,) = checkpoint["optimiser"]["param_groups"]
    expected = group["lr"]
    del group["initial_lr"]
    group["lr"] = 0.0
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    assert set(checkpoint) == {"step", "network", "average", "optimiser"}
    assert Run(recipe, tmp_path, training_photos=1).optimiser.param_groups[0]["lr"] == pytest.approx(expected)


def test_a_training_ends_with_its_minutes_and_has_lowered_its_learning_rate(
    recipe: Recipe, photos: Path, tmp_path: Path
) -> None:
    train(recipe.model_copy(update={"steps": 1_000_000}), photos, tmp_path / "run", minutes=0.03)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert 0 < state["step"] < 1_000_000
    assert state["optimiser"]["param_groups"][0]["lr"] < 0.3 * recipe.learning_rate


def test_a_training_saves_before_it_stops(recipe: Recipe, photos: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    train(recipe, photos, tmp_path / "run", stop=stop)
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_recipe_can_ask_for_the_photos_of_one_folder(recipe: Recipe, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photo")
    (tmp_path / "face").mkdir()
    for number, file in enumerate(sorted(photos.glob("0_*.png"))):
        shutil.copy(file, tmp_path / "face" / f"face{number}.png")
    for folder, used in (("face", 3), ("", 9)):
        train(recipe.model_copy(update={"photos": folder, "steps": 1}), tmp_path, tmp_path / f"run{folder}")
        assert json.loads((tmp_path / f"run{folder}" / "small_x2.json").read_text())["training_photos"] == used


def test_a_network_can_learn_to_finish_what_a_classical_expert_begins(
    recipe: Recipe, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "DECONVOLUTION_PATCHES", 8)
    preprocessor = {Degradation.DEFOCUS_BLUR: "wiener_defocus"}
    finishing = recipe.model_copy(
        update={
            "name": "finishing",
            "network": {"num_feat": 16, "num_conv": 2, "upscale": 1},
            "scale": 1,
            "degrade": "defocus_blur",
            "preprocessor": preprocessor,
            "cards": {"mine": {"task": "defocus_deblurring", "about": "A test.", "halo": 8}},
            "steps": 2,
        }
    )
    pieces = deconvolution_patches([load_photo(file) for file in photo_files(photos)], finishing, tmp_path, 2)
    given, target = deconvolution_pair(pieces[0], np.random.default_rng(0))
    blurred = pieces[0][..., :3] / 255
    assert np.mean((blurred - target) ** 2) > 0
    assert not np.array_equal(given, blurred)
    train(finishing, photos, tmp_path / "run")
    put_cards(finishing, ["mine"], tmp_path / "networks.toml")
    (card,) = parse_cards((tmp_path / "networks.toml").read_text(), "networks.toml")
    assert card.preprocessor == preprocessor[Degradation.DEFOCUS_BLUR]
    assert set(log_of(tmp_path / "run")[-1]) >= {"defocus_blur"}


def test_training_can_begin_with_the_weights_of_a_run_beside_it(recipe: Recipe, tmp_path: Path) -> None:
    first = Run(recipe, tmp_path / "small_x2", training_photos=1)
    first.folder.mkdir()
    first.save()
    network = {"num_feat": 16, "num_conv": 2, "upscale": 4}
    other = recipe.model_copy(update={"name": "small_x4", "init": "small_x2", "network": network, "scale": 4})
    weights = Run(other, tmp_path / "small_x4", training_photos=1).network.state_dict()
    shipped = load_file(first.folder / "small_x2.safetensors")
    assert torch.equal(weights["body.2.weight"].half(), shipped["body.2.weight"])
    assert weights["body.6.weight"].shape == (48, 16, 3, 3)


def test_missing_initial_weights_are_named(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Run(recipe.model_copy(update={"init": "nowhere"}), tmp_path / "run", training_photos=1)


def test_initial_weights_of_another_network_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    save_file({"something": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="init"):
        begin(recipe, tmp_path / "other.safetensors")


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_begins_with_a_network_that_nearly_gives_back_its_input(file: Path) -> None:
    recipe = load_recipe(file)
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    with torch.inference_mode():
        output = forward(begin(recipe, None).eval(), recipe, picture)
    enlarged = torch.nn.functional.interpolate(picture, scale_factor=recipe.scale)
    assert output.shape == enlarged.shape
    assert float((output - enlarged).abs().mean()) < 0.1


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_has_cards_that_its_weights_keep(file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(file)
    put_cards(recipe, list(recipe.cards), tmp_path / "networks.toml")
    cards = parse_cards((tmp_path / "networks.toml").read_text(), "networks.toml")
    save_file(build(recipe).half().state_dict(), tmp_path / f"{recipe.name}.safetensors")
    assert cards or recipe.name == "face"  # Its cards come with what finds, aligns and pastes back faces.
    for card in cards:
        assert load_network(card, ModelStore(), tmp_path).descriptor.scale == recipe.scale


def test_exporting_a_run_writes_weights_figures_and_cards(
    trained: tuple[Recipe, Path], photos: Path, pairs: Path, tmp_path: Path
) -> None:
    recipe, run = trained
    weights, cards = tmp_path / "weights", tmp_path / "networks.toml"
    cards.write_text('[other]\ntask = "denoising"\nloader = "spandrel"\nweights = "o"\nabout = ""\nsource = ""\n')
    export(recipe, run, photos, [pairs], weights, cards)
    card = json.loads((weights / "small_x2.json").read_text())
    assert card["steps_done"] == recipe.steps
    assert card["recipe"]["seed"] == recipe.seed
    assert card["psnr_y"][pairs.name] > 20
    assert card["held_out_psnr_rgb"]["bicubic"]["output_db"] > 20
    assert set(tomllib.loads(cards.read_text())) == {"other", "small_x2"}
    assert load_file(weights / "small_x2.safetensors")["body.0.weight"].dtype == torch.float16


def test_a_task_that_the_network_does_not_do_gets_no_card(tmp_path: Path) -> None:
    all_in_one = next(load_recipe(file) for file in RECIPES if file.stem == "all_in_one")
    good, bad = Gain(20.0, given_db=20.0, output_db=25.0), Gain(15.0, given_db=20.0, output_db=19.0)
    gains = {str(degradation): bad for degradation in Degradation} | {"noise": good}
    worth = cards_worth_adding(all_in_one, gains)
    assert worth == ["restore4k_all_in_one_denoise"]
    put_cards(all_in_one, list(all_in_one.cards), tmp_path / "networks.toml")
    put_cards(all_in_one, worth, tmp_path / "networks.toml")
    assert list(tomllib.loads((tmp_path / "networks.toml").read_text())) == worth


def test_an_export_keeps_the_execution_keys_of_a_card(recipe: Recipe, tmp_path: Path) -> None:
    cards = tmp_path / "networks.toml"
    put_cards(recipe, list(recipe.cards), cards)
    cards.write_text(cards.read_text().replace("scale = 2", 'scale = 2\ndtype = "bfloat16"'))
    put_cards(recipe, list(recipe.cards), cards)
    assert [card["dtype"] for card in tomllib.loads(cards.read_text()).values()] == ["bfloat16"]


def test_psnr_of_a_folder_is_measured_on_the_product_s_own_output(trained: tuple[Recipe, Path], pairs: Path) -> None:
    expert = expert_of(trained[1] / "small_x2.safetensors")
    whole = super_resolution_db(expert, pairs)
    for file in (pairs / "hr").iterdir():
        assert expert(read_image(pairs / "lr_x2" / file.name), ProgressToken()).width == read_image(file).width
    assert 20 < whole < 50
