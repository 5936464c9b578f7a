"""A user's own file of weights becomes an expert without a line of code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import Result
from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact
from typer.testing import CliRunner

from agent.expert_choice import candidates
from agent.qmoe import run_candidates
from agent.state import HALF_CLEANED, KEEP_INPUT, UNTOUCHED, Step
from agent.step import experts_for
from agent.step_context import StepContext
from benchmarks.architectures import photo
from benchmarks.ncnn_files import write_compact
from benchmarks.random_networks import NETWORKS, RandomNetwork
from imaging.progress import ProgressToken
from iqa.features import extract_features
from profiles.loading import load_profile
from profiles.schema import Profile
from server.cli import trial_process
from server.cli.app import app
from server.cli.trial import Trial, try_expert
from toolbox.availability import availability
from toolbox.catalogue import default_catalogue
from toolbox.custom_models import CustomModel, examine
from toolbox.errors import WeightsError
from toolbox.expert import run_expert
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
def models(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command `models`; models are tried in this process, which has its libraries loaded."""

    def examined_here(
        model: CustomModel, table: dict[str, Any], copies: ModelStore, token: ProgressToken
    ) -> tuple[dict[str, Any], Trial]:
        trials: list[Trial] = []
        keys = examine(model, table, copies, lambda expert: trials.append(try_expert(expert)))
        return keys, trials[0]

    monkeypatch.setattr(trial_process, "examine_in_process", examined_here)
    return lambda *arguments: CliRunner().invoke(app, ["models", *map(str, arguments)])


def added(models: Command, file: Path, name: str, task: Task, *more: str) -> dict[str, Any]:
    result = models("add", file, "--task", task.value, "--name", name, "--json", *more)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def task_of(network: RandomNetwork) -> Task:
    return Task.DENOISING if network.scale == 1 else Task.SUPER_RESOLUTION


@pytest.mark.filterwarnings("ignore")  # what the networks' own code makes torch say
@pytest.mark.parametrize("title", FORMS)
def test_a_file_in_a_publisher_s_form_takes_part_in_q_moe(
    title: str, models: Command, store: ModelStore, tmp_path: Path
) -> None:
    network = NAMED[title]
    report = added(models, network.write(tmp_path), "mine", task_of(network))
    assert report["expert"]["architecture"] == network.architecture
    assert report["expert"]["scale"] == network.scale
    assert report["trial"]["seconds"] > 0
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
    report = added(models, NAMED["RestoreFormer"].write(tmp_path), "mine", Task.FACE_RESTORATION)["expert"]
    assert (report["tile"], report["halo"]) == (512, 0)
    report = added(models, NAMED["SwinIR-denoise"].write(tmp_path), "other", Task.DENOISING)["expert"]
    assert report["multiple_of"] == 8


def test_the_licence_is_recorded_or_unknown(models: Command, tmp_path: Path) -> None:
    file = NAMED["NAFNet"].write(tmp_path)
    first = added(models, file, "first", Task.DENOISING)["expert"]
    second = added(models, file, "second", Task.DENOISING, "--licence", "Mine alone", "--commercial", "no")["expert"]
    assert (first["licence"], first["commercial"]) == ("unknown", "ask")
    assert (second["licence"], second["commercial"]) == ("Mine alone", "no")


@pytest.mark.parametrize(("allowed", "names"), [(False, ["open"]), (True, ["closed", "open"])])
def test_non_commercial_experts_need_the_profile_s_permission(
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
    ("title", "arguments", "message"),
    [
        ("NAFNet", ("--task", "super_resolution", "--name", "mine"), "scale 1x"),
        ("Compact", ("--task", "denoising", "--name", "mine"), "super_resolution"),
        ("NAFNet", ("--task", "denoising", "--name", "nlm_denoise"), "already"),
        ("NAFNet", ("--task", "denoising", "--name", "../mine"), "name"),
    ],
)
def test_a_refused_custom_model_leaves_no_files(
    title: str, arguments: tuple[str, ...], message: str, models: Command, store: ModelStore, tmp_path: Path
) -> None:
    result = models("add", NAMED[title].write(tmp_path), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(store.files()) == store.custom_cards() == []


@pytest.mark.parametrize("name", ["absent.pth", "notes.txt", "broken.pth", "program.pt2"])
def test_a_file_that_is_no_network_for_us_is_refused(
    name: str, models: Command, store: ModelStore, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no weights")
    torch.export.save(torch.export.export(torch.nn.Identity(), (torch.zeros(1),)), tmp_path / "program.pt2")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    result = models("add", tmp_path / name, "--task", "super_resolution", "--name", "mine")
    assert result.exit_code == 2
    assert name in result.stderr
    assert list(store.files()) == store.custom_cards() == []


def test_a_name_with_a_dot_is_added_used_and_removed(models: Command, store: ModelStore, tmp_path: Path) -> None:
    added(models, NAMED["NAFNet"].write(tmp_path), "net_v1.5", Task.DENOISING, "--licence", "mine \x7f alone")
    assert ExpertPool().catalogue.card("net_v1.5").licence == "mine \x7f alone"
    assert models("list").exit_code == models("remove", "net_v1.5").exit_code == 0
    assert list(store.files()) == store.custom_cards() == []


@pytest.mark.parametrize("name", [KEEP_INPUT, f"mine{UNTOUCHED}", f"mine{HALF_CLEANED}"])
def test_names_of_candidates_that_are_not_experts_are_refused(
    models: Command, store: ModelStore, tmp_path: Path, name: str
) -> None:
    result = models("add", NAMED["NAFNet"].write(tmp_path), "--task", "denoising", "--name", name)
    assert (result.exit_code, list(store.files())) == (2, [])
    assert "candidates that are not experts" in result.stderr


def test_a_network_in_ncnn_s_format_is_added_and_removed_with_both_files(
    models: Command, store: ModelStore, tmp_path: Path
) -> None:
    write_compact(SRVGGNetCompact(num_feat=8, num_conv=1, upscale=4), tmp_path / "x.param")
    card = added(models, tmp_path / "x.param", "mine", Task.SUPER_RESOLUTION)["expert"]
    assert (card["loader"], card["architecture"], card["scale"]) == ("ncnn", "Compact", 4)
    assert [path.name for path in store.files()] == ["mine.bin", "mine.param"]
    assert models("verify", "mine").stdout.split() == ["ok", "mine.param", "ok", "mine.bin"]
    (store.folder / "mine.bin").write_bytes(bytes(8))
    with pytest.raises(WeightsError, match=r"mine\.bin has sha256"):
        ExpertPool().get("mine")
    assert models("remove", "mine").exit_code == 0
    assert list(store.files()) == store.custom_cards() == []


def write_graph(folder: Path, *, channels: int = 3, unit: float = 1.0, external: bool = False) -> Path:
    """A graph that limits pixels to [0, unit], adds a little, and reads its constants from a file if `external`."""
    values = {"least": [0.0], "most": [unit], "little": [0.02 * unit]}
    constants = [onnx.numpy_helper.from_array(np.array(value, np.float32), name) for name, value in values.items()]
    steps = [("Max", "picture", "least", "a"), ("Min", "a", "most", "b"), ("Add", "b", "little", "result")]
    nodes = [onnx.helper.make_node(kind, [first, second], [last]) for kind, first, second, last in steps]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, "h", "w"])
        for name in ("picture", "result")
    ]
    graph = onnx.helper.make_graph(nodes, "test", ends[:1], ends[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    file = folder / "it.onnx"
    onnx.save(model, file, save_as_external_data=external, location="it.onnx.data", size_threshold=0)
    return file


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("external", [True, False])
def test_a_graph_is_added_with_the_file_of_its_weights(
    channels: int, external: bool, models: Command, store: ModelStore, tmp_path: Path
) -> None:
    file = write_graph(tmp_path, channels=channels, external=external)
    assert file.with_name("it.onnx.data").exists() == external
    assert added(models, file, "mine", Task.DENOISING)["trial"]["psnr"] > 30
    for left in (file, file.with_name("it.onnx.data")):
        left.unlink(missing_ok=True)
    run_expert(ExpertPool().get("mine"), photo(32), ProgressToken())
    assert models("remove", "mine").exit_code == 0
    assert [path.name for path in store.folder.rglob("*") if path.suffix in (".onnx", ".data")] == []
    assert not (store.folder / "mine").exists()


@pytest.mark.parametrize(
    ("unit", "option", "found"),
    [(1, (), "unit"), (255, (), "byte"), (2, ("--value-range", "symmetric"), "symmetric")],
)
def test_the_value_range_of_a_graph_is_found_or_given(
    unit: float, option: tuple[str, ...], found: str, models: Command, tmp_path: Path
) -> None:
    """A graph for [0, 255] that gets [0, 1] adds 5.1 to each pixel."""
    assert (
        added(models, write_graph(tmp_path, unit=unit), "mine", Task.DENOISING, *option)["expert"]["value_range"]
        == found
    )


@pytest.mark.filterwarnings("ignore")  # what the networks' own code makes torch say
def test_a_three_times_network_serves_as_four_times(models: Command, tmp_path: Path) -> None:
    three = RandomNetwork("Compact", {"num_feat": 8, "num_conv": 1, "upscale": 3}, 3, "params")
    card = added(models, three.write(tmp_path), "mine", Task.SUPER_RESOLUTION)["expert"]
    assert (card["scale"], card["network_scale"]) == (4, 3)
    result = run_expert(ExpertPool().get("mine"), photo(32), ProgressToken())
    assert (result.width, result.height) == (128, 128)


@pytest.mark.filterwarnings("ignore")  # what the networks' own code makes torch say
def test_an_own_network_has_the_memory_class_of_its_architecture(models: Command, tmp_path: Path) -> None:
    assert added(models, NAMED["HAT"].write(tmp_path), "mine", Task.SUPER_RESOLUTION)["expert"]["memory"] == "L"


def test_a_network_that_is_not_known_names_the_other_formats(models: Command, tmp_path: Path) -> None:
    torch.save({"params": {"unheard.weight": torch.zeros(3, 3)}}, tmp_path / "odd.pth")
    result = models("add", tmp_path / "odd.pth", "--task", "denoising", "--name", "mine")
    assert result.exit_code == 2
    assert "ONNX" in result.stderr
    assert ".param" in result.stderr


def test_a_file_of_the_wrong_size_is_not_ready_and_wrong_bytes_are_refused(store: ModelStore) -> None:
    card = next(card for card in default_catalogue() if card.name == "realesr_general_x4")
    store.folder.mkdir()
    path = store.path(card.files[0].name)
    path.write_bytes(b"wrong")
    state = availability(card, store)
    assert (state.state, state.can_run) == ("damaged", False)
    assert "models remove" in state.advice
    path.write_bytes(bytes(card.files[0].size or 0))
    assert availability(card, store).can_run
    with pytest.raises(WeightsError, match="sha256"):
        ExpertPool(store=store).get(card.name)
