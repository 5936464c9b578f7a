"""Checkpoints in the file formats of their publishers are recognised, loaded and run, also tiled and in bfloat16."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.architectures import card_of, photo, run_network
from benchmarks.random_networks import NETWORKS, RandomNetwork
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.catalogue import default_catalogue
from toolbox.checkpoint import read_state_dict
from toolbox.errors import WeightsError
from toolbox.expert import run_expert
from toolbox.network import load_network
from toolbox.store import ModelStore

COMPACT = next(network for network in NETWORKS if network.architecture == "Compact")
HALF_FAILS = {"RestoreFormer", "SPAN"}
"""float32 only, because rounding changes codebook entries or saturates."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


def test_every_file_format_covers_many_architectures() -> None:
    assert len({network.architecture for network in NETWORKS}) >= 25
    assert {network.form for network in NETWORKS} == {"plain", "params", "params_ema", "training"}
    assert {network.suffix for network in NETWORKS} == {".pth", ".pt", ".ckpt", ".safetensors"}


@pytest.mark.filterwarnings("ignore")  # what the networks' own code makes torch say
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.title)
def test_a_published_architecture_loads_and_runs_whole_in_tiles_and_in_half_precision(
    network: RandomNetwork, folder: Path
) -> None:
    file = network.write(folder)
    whole, _ = run_network(network, file, photo(64))
    assert (whole.width, whole.height) == (64 * network.scale, 64 * network.scale)
    assert float(whole.pixels.std()) > 1e-4
    half, _ = run_network(network, file, photo(64), dtype="bfloat16")
    if network.architecture not in HALF_FAILS:
        assert float((half.pixels - whole.pixels).abs().mean()) < 0.005
    wide = Image(photo(96).pixels[:, :56])
    tiled, _ = run_network(network, file, wide, tile=64, halo=8)
    assert (tiled.width, tiled.height) == (96 * network.scale, 56 * network.scale)


def test_cards_use_half_precision_only_where_it_was_tested() -> None:
    seen = {network.architecture for network in NETWORKS} - HALF_FAILS
    with_own_weights = "restore4k_sr_x4_texture"  # in test_network.py; random weights of SPAN saturate
    cards = [card for card in default_catalogue() if card.loader == "spandrel" and card.name != with_own_weights]
    promised = {card.architecture for card in cards if card.dtype == "bfloat16"}
    assert promised <= seen


def test_a_network_that_modifies_its_input_does_not_change_the_image(folder: Path) -> None:
    network = next(network for network in NETWORKS if network.architecture == "RCAN")
    expert = load_network(card_of(network, network.write(folder)), ModelStore(folder))
    image = photo(64)
    before = image.pixels.clone()
    run_expert(expert, image, ProgressToken())
    assert torch.equal(image.pixels, before)


class Foreign:
    """An object whose unpickling would run code."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return (Path.touch, (self.proof,))


@pytest.mark.parametrize("form", ["torch", "old torch", "bare pickle"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
def test_a_file_with_code_is_refused_and_the_code_does_not_run(form: str, suffix: str, tmp_path: Path) -> None:
    file, proof = tmp_path / f"evil{suffix}", tmp_path / "proof"
    content = {"params": COMPACT.make().state_dict(), "more": Foreign(proof)}
    if form == "bare pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(WeightsError, match="evil.*contains getattr" if form == "torch" else "evil"):
        load_network(card_of(COMPACT, file), ModelStore(tmp_path))
    assert not proof.exists()


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "program.pt"
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("code/__torch__.py", "constants.pkl", "data.pkl"):
            archive.writestr(f"program/{name}", b"")
    with pytest.raises(WeightsError, match=r"TorchScript.*\.safetensors"):
        read_state_dict(file)


@pytest.mark.parametrize(
    "content",
    [{}, {"params": {}}, [1, 2], {"epoch": 3}, torch.zeros(3), np.float64(3)],
    ids=repr,
)
def test_a_file_without_weights_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match=r"empty\.pth"):
        read_state_dict(tmp_path / "empty.pth")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_truncated_file_is_refused(suffix: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save(COMPACT.make().state_dict(), stream)
    file = tmp_path / f"cut{suffix}"
    file.write_bytes(stream.getvalue()[:5000])
    with pytest.raises(WeightsError, match="cut"):
        read_state_dict(file)


def test_weights_of_an_unknown_architecture_are_refused(tmp_path: Path) -> None:
    save_file({"layer.weight": torch.zeros(3, 3)}, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match=r"odd\.safetensors"):
        load_network(card_of(COMPACT, tmp_path / "odd.safetensors"), ModelStore(tmp_path))


def test_a_network_for_grey_images_runs_on_each_channel(tmp_path: Path) -> None:
    grey = RandomNetwork("Compact", {"num_in_ch": 1, "num_out_ch": 1, "num_feat": 8, "num_conv": 1, "upscale": 2}, 2)
    expert = load_network(card_of(grey, grey.write(tmp_path)), ModelStore(tmp_path))
    picture = torch.rand(3, 12, 10, generator=torch.Generator().manual_seed(1))
    result = expert(Image(picture), ProgressToken()).pixels
    for channel in range(3):
        alone = expert(Image(picture[[channel] * 3]), ProgressToken()).pixels
        assert torch.allclose(result[channel], alone[channel], atol=1e-6)


def test_a_network_whose_input_is_no_image_is_refused(tmp_path: Path) -> None:
    odd = RandomNetwork("Compact", {"num_in_ch": 4, "num_out_ch": 4, "num_feat": 8, "num_conv": 1, "upscale": 2}, 2)
    with pytest.raises(WeightsError, match="not images"):
        load_network(card_of(odd, odd.write(tmp_path)), ModelStore(tmp_path))
