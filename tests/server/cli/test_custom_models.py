"""A user's own file of weights becomes an expert without a line of code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from agent.qmoe import candidates, run_candidates
from agent.state import Step
from agent.step import experts_for
from agent.step_context import StepContext
from benchmarks.architectures import photo
from benchmarks.random_networks import NETWORKS, RandomNetwork
from iqa.features import extract_features
from profiles.loading import load_profile
from profiles.schema import Profile
from server.cli.app import app
from toolbox.pool import ExpertPool
from toolbox.store import ModelStore
from toolbox.tasks import Task

NAMED = {network.title: network for network in NETWORKS}
FORMS = ["NAFNet", "HAT", "MPRNet", "SCUNet", "RealPLKSR", "ESRGAN", "MixDehazeNet"]
"""params, params_ema, state_dict with module., plain, .pt, .safetensors, and once more data-parallel."""
Command = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path / "models"))
    return ModelStore()


@pytest.fixture
def models(store: ModelStore) -> Command:
    return lambda *arguments: CliRunner().invoke(app, ["models", *map(str, arguments)])


def added(models: Command, file: Path, name: str, task: Task, *more: str) -> dict[str, Any]:
    told = models("add", file, "--task", task.value, "--name", name, "--json", *more)
    assert told.exit_code == 0, told.output
    document: dict[str, Any] = json.loads(told.stdout)
    return document


def task_of(network: RandomNetwork) -> Task:
    return Task.DENOISING if network.scale == 1 else Task.SUPER_RESOLUTION


@pytest.mark.filterwarnings("ignore")  # what the networks' own code makes torch say
@pytest.mark.parametrize("title", FORMS)
def test_a_file_in_a_publisher_s_form_takes_part_in_q_moe(
    title: str, models: Command, store: ModelStore, tmp_path: Path
) -> None:
    network = NAMED[title]
    told = added(models, network.write(tmp_path), "mine", task_of(network))
    assert told["expert"]["architecture"] == network.architecture
    assert told["expert"]["scale"] == network.scale
    assert told["trial"]["seconds"] > 0
    pool, profile = ExpertPool(), load_profile("default")
    step = Step(task=task_of(network), scale=network.scale)
    picture = photo(32)
    context = StepContext(picture, step, profile, pool, extract_features(picture))
    cards = experts_for(context)
    assert "mine" in [card.name for card in cards]
    mine = [card for card in cards if card.name == "mine"]
    verdicts = [one.verdict for one in run_candidates(context, mine)]
    assert [one.error for one in verdicts if one.expert == "mine"] == [None]


@pytest.mark.filterwarnings("ignore")  # what the networks' own code makes torch say
def test_an_own_network_is_run_as_a_published_one_of_its_kind(models: Command, tmp_path: Path) -> None:
    told = added(models, NAMED["RestoreFormer"].write(tmp_path), "mine", Task.FACE_RESTORATION)["expert"]
    assert (told["tile"], told["halo"]) == (512, 0)
    told = added(models, NAMED["SwinIR-denoise"].write(tmp_path), "other", Task.DENOISING)["expert"]
    assert told["multiple_of"] == 8


def test_the_licence_is_recorded_and_unknown_where_nobody_said(models: Command, tmp_path: Path) -> None:
    file = NAMED["NAFNet"].write(tmp_path)
    first = added(models, file, "first", Task.DENOISING)["expert"]
    second = added(models, file, "second", Task.DENOISING, "--licence", "Mine alone", "--commercial", "no")["expert"]
    assert (first["licence"], first["commercial"]) == ("unknown", "ask")
    assert (second["licence"], second["commercial"]) == ("Mine alone", "no")


@pytest.mark.parametrize(("allowed", "names"), [(False, ["open"]), (True, ["closed", "open"])])
def test_what_must_not_be_used_commercially_needs_the_profile_s_leave(
    allowed: bool, names: list[str], models: Command, tmp_path: Path
) -> None:
    file = NAMED["NAFNet"].write(tmp_path)
    added(models, file, "open", Task.DENOISING, "--commercial", "yes")
    added(models, file, "closed", Task.DENOISING, "--commercial", "no")
    profile = Profile(name="test", non_commercial=allowed)
    cards = candidates(Step(task=Task.DENOISING), profile, ExpertPool())
    assert sorted(card.name for card in cards if card.source == "your own") == names


def test_a_file_in_the_models_folder_is_left_where_it_is(models: Command, store: ModelStore) -> None:
    store.folder.mkdir()
    file = NAMED["NAFNet"].write(store.folder)
    assert added(models, file, "mine", Task.DENOISING)["expert"]["file"]["name"] == file.name
    assert [path.name for path in store.files()] == [file.name]


def test_an_own_expert_is_listed_verified_and_removed(models: Command, store: ModelStore, tmp_path: Path) -> None:
    added(models, NAMED["NAFNet"].write(tmp_path), "mine", Task.DENOISING)
    assert "mine" in models("list").stdout
    assert models("verify", "mine").stdout.startswith("ok")
    assert models("remove", "mine").exit_code == 0
    assert list(store.files()) == store.custom_cards() == []


@pytest.mark.parametrize(
    ("title", "arguments", "told"),
    [
        ("NAFNet", ("--task", "super_resolution", "--name", "mine"), "scale 1x"),
        ("Compact", ("--task", "denoising", "--name", "mine"), "super_resolution"),
        ("NAFNet", ("--task", "denoising", "--name", "nlm_denoise"), "already"),
        ("NAFNet", ("--task", "denoising", "--name", "../mine"), "name"),
    ],
)
def test_what_cannot_be_added_is_told_and_leaves_nothing(
    title: str, arguments: tuple[str, ...], told: str, models: Command, store: ModelStore, tmp_path: Path
) -> None:
    result = models("add", NAMED[title].write(tmp_path), *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert list(store.files()) == store.custom_cards() == []


@pytest.mark.parametrize("name", ["absent.pth", "notes.txt", "broken.pth", "three.pth", "program.pt2"])
def test_a_file_that_is_no_network_for_us_is_refused(
    name: str, models: Command, store: ModelStore, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no weights")
    torch.export.save(torch.export.export(torch.nn.Identity(), (torch.zeros(1),)), tmp_path / "program.pt2")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    three = RandomNetwork("Compact", {"num_feat": 8, "num_conv": 1, "upscale": 3}, 3, "params")
    torch.save(torch.load(three.write(tmp_path)), tmp_path / "three.pth")
    result = models("add", tmp_path / name, "--task", "super_resolution", "--name", "mine")
    assert result.exit_code == 2
    assert name in result.stderr
    assert list(store.files()) == store.custom_cards() == []


def test_a_broken_card_of_the_user_is_named(models: Command, store: ModelStore) -> None:
    store.custom_card("mine").parent.mkdir(parents=True)
    store.custom_card("mine").write_text("[mine]\ntask = 'cooking'\n")
    result = models("list")
    assert result.exit_code == 2
    assert str(store.custom_card("mine")) in result.stderr
