"""Experts loaded by spandrel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
from safetensors.torch import save_file
from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact
from spandrel.architectures.DRUNet.__arch.network_unet import DRUNet
from spandrel.architectures.SPAN.__arch.span import SPAN

from benchmarks.architectures import card_of
from benchmarks.random_networks import NETWORKS
from imaging.convert import from_numpy, to_float
from imaging.errors import Cancelled
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.card import SpandrelCard
from toolbox.catalogue import default_catalogue
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.expert import PreprocessedExpert, load_expert, run_expert, without_tta
from toolbox.network import load_network
from toolbox.store import ModelStore


def card(**changes: Any) -> SpandrelCard:
    return SpandrelCard.model_validate(
        {"name": "net", "task": "super_resolution", "scale": 2, "loader": "spandrel", "about": "", "source": ""}
        | {"file": {"name": "net.safetensors"}, "architecture": "Compact", "halo": 16}
        | changes
    )


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = SRVGGNetCompact(num_feat=8, num_conv=1, upscale=2)
    save_file(network.half().state_dict(), tmp_path / "net.safetensors")
    return tmp_path


def picture(height: int, width: int) -> Image:
    return Image(torch.rand(3, height, width, generator=torch.Generator().manual_seed(1)))


def test_a_network_upscales_by_the_scale_of_its_card(weights: Path) -> None:
    result = run_expert(load_network(card(), ModelStore(weights)), picture(33, 50), ProgressToken())
    assert (result.height, result.width) == (66, 100)


def test_half_precision_on_disk_runs_in_float32(weights: Path) -> None:
    expert = load_network(card(), ModelStore(weights))
    assert {parameter.dtype for parameter in expert.descriptor.model.parameters()} == {torch.float32}
    assert expert.weight_bytes == 4 * sum(parameter.numel() for parameter in expert.descriptor.model.parameters())


def test_a_tiled_result_equals_the_result_on_the_whole_image(weights: Path) -> None:
    expert = load_network(card(), ModelStore(weights))
    image = picture(40, 900)
    with torch.inference_mode():
        whole = expert.descriptor(image.pixels[None])[0]
    tiled = expert(image, ProgressToken()).pixels
    assert float((tiled - whole).abs().max()) < 1e-4


def test_a_small_image_uses_the_self_ensemble(weights: Path) -> None:
    expert = load_network(card(self_ensemble=4), ModelStore(weights))
    image = picture(30, 41)
    for flip in ((-1,), (-2,)):
        mirrored = run_expert(expert, Image(image.pixels.flip(flip)), ProgressToken()).pixels
        upright = run_expert(expert, image, ProgressToken()).pixels
        torch.testing.assert_close(mirrored.flip(flip), upright, rtol=0, atol=1e-5)
        once = run_expert(without_tta(expert), Image(image.pixels.flip(flip)), ProgressToken()).pixels
        assert (once.flip(flip) - upright).abs().max() > 0.01


@pytest.mark.parametrize(("width", "self_ensemble"), [(500, 4), (1024, 2), (1100, 1)])
def test_a_large_image_uses_fewer_flips(weights: Path, width: int, self_ensemble: int) -> None:
    image = picture(512, width)
    many, few = (
        run_expert(load_network(card(self_ensemble=number), ModelStore(weights)), image, ProgressToken()).pixels
        for number in (4, self_ensemble)
    )
    assert torch.equal(many, few)


def test_without_tta_reaches_the_network_after_a_preprocessor(weights: Path) -> None:
    first = load_expert(default_catalogue().card("gain_brighten"))
    quick = without_tta(
        PreprocessedExpert(first.card, first, load_network(card(self_ensemble=4), ModelStore(weights)))
    )
    plain = PreprocessedExpert(first.card, first, load_network(card(), ModelStore(weights)))
    image = picture(20, 20)
    assert torch.equal(quick(image, ProgressToken()).pixels, plain(image, ProgressToken()).pixels)


def test_a_bfloat16_card_stays_near_float32(weights: Path) -> None:
    image = picture(24, 24)
    exact = load_network(card(), ModelStore(weights))(image, ProgressToken()).pixels
    rounded = load_network(card(dtype="bfloat16"), ModelStore(weights))(image, ProgressToken()).pixels
    assert rounded.dtype == torch.float32
    assert float((rounded - exact).abs().max()) < 0.02


def test_a_network_that_needs_multiples_of_eight_takes_any_size(tmp_path: Path) -> None:
    network = DRUNet(in_nc=4, out_nc=3, nc=[8, 8, 8, 8], nb=2)
    save_file(network.half().state_dict(), tmp_path / "net.safetensors")
    expert = load_network(card(task="denoising", scale=1, architecture="DRUNet"), ModelStore(tmp_path))
    result = run_expert(expert, picture(37, 51), ProgressToken())
    assert (result.height, result.width) == (37, 51)


def test_the_error_for_missing_weights_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"net\.safetensors"):
        load_network(card(), ModelStore(tmp_path))


def test_a_file_that_is_not_a_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_network(card(), ModelStore(tmp_path))


def test_an_architecture_that_differs_from_the_card_is_refused(weights: Path) -> None:
    with pytest.raises(WeightsError, match="Compact"):
        load_network(card(architecture="SPAN"), ModelStore(weights))


def test_a_scale_that_differs_from_the_card_is_refused(weights: Path) -> None:
    with pytest.raises(WeightsError, match="2x"):
        load_network(card(scale=4), ModelStore(weights))


def test_a_cancelled_run_stops(weights: Path) -> None:
    token = ProgressToken()
    token.cancel()
    with pytest.raises(Cancelled):
        run_expert(load_network(card(), ModelStore(weights)), picture(16, 16), token)


def test_options_of_a_card_reach_the_network(tmp_path: Path) -> None:
    network = next(network for network in NETWORKS if network.architecture == "FBCNN")
    file = network.write(tmp_path)
    image = picture(24, 24)
    gentle, strong, blind = (
        run_expert(
            load_network(card_of(network, file, options=options), ModelStore(tmp_path)), image, ProgressToken()
        )
        for options in ({"qf_input": 0.1}, {"qf_input": 0.95}, {})
    )
    assert not torch.equal(gentle.pixels, strong.pixels)
    assert not torch.equal(gentle.pixels, blind.pixels)


def test_a_symmetric_value_range_is_converted(tmp_path: Path) -> None:
    network = next(network for network in NETWORKS if network.architecture == "DnCNN")
    expert = load_network(card_of(network, network.write(tmp_path), value_range="symmetric"), ModelStore(tmp_path))
    image = picture(24, 24)
    with torch.inference_mode():
        wanted = network.make()(image.pixels[None] * 2 - 1)[0] / 2 + 0.5
    assert torch.allclose(run_expert(expert, image, ProgressToken()).pixels, wanted.clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize("architecture", ["Compact", "DRUNet"])
def test_in_bfloat16_the_image_itself_is_not_rounded(architecture: str, tmp_path: Path) -> None:
    network = {
        "Compact": SRVGGNetCompact(num_feat=8, num_conv=1, upscale=2),
        "DRUNet": DRUNet(in_nc=4, out_nc=3, nc=[8, 8, 8, 8], nb=2),
    }[architecture]
    adds_nothing(network)
    save_file(network.half().state_dict(), tmp_path / "net.safetensors")
    task, scale = ("super_resolution", 2) if architecture == "Compact" else ("denoising", 1)
    expert = load_network(
        card(dtype="bfloat16", architecture=architecture, task=task, scale=scale), ModelStore(tmp_path)
    )
    sky = Image(torch.linspace(0.7, 0.75, 64 * 64).reshape(1, 64, 64).repeat(3, 1, 1))
    result = expert(sky, ProgressToken()).pixels[:, :: expert.card.scale, :: expert.card.scale]
    assert float((result - sky.pixels).abs().max()) < 1e-6


def adds_nothing(network: torch.nn.Module) -> None:
    """The output is the input (upscaled by repetition), whatever the features are."""
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()
        if isinstance(network, DRUNet):
            for channel in range(3):
                network.m_head.weight[channel, channel, 1, 1] = 1
                network.m_tail.weight[channel, channel, 1, 1] = 1


def test_span_in_bfloat16_computes_the_image_in_float32(tmp_path: Path) -> None:
    """Autocast would round it to 8 bits, coarsely where it is bright."""
    torch.manual_seed(0)
    network = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2).eval()
    with torch.no_grad():
        network.upsampler[0].weight.zero_()
        network.upsampler[0].bias.copy_(torch.linspace(0.7, 0.75, 12))
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    exact, mixed = (
        load_network(card(dtype=dtype, architecture="SPAN", task="super_resolution", scale=2), ModelStore(tmp_path))(
            picture(20, 17), ProgressToken()
        ).pixels
        for dtype in ("float32", "bfloat16")
    )
    assert float((exact - mixed).abs().max()) < 1e-6


def test_span_in_bfloat16_is_near_float32() -> None:
    shipped = default_catalogue().card("restore4k_sr_x4_texture")
    photo = Image(from_numpy(to_float(skimage.data.astronaut()[:96, 150:246])))
    exact, mixed = (
        load_network(shipped.model_copy(update={"dtype": dtype}), ModelStore())(photo, ProgressToken()).pixels
        for dtype in ("float32", "bfloat16")
    )
    assert 0 < float((exact - mixed).abs().mean()) < 1 / 255


@pytest.mark.parametrize("scale", [1, 2])
def test_networks_in_bfloat16_stay_near_float32(scale: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SRVGGNetCompact(num_feat=16, num_conv=4, upscale=scale)
    save_file(network.half().state_dict(), tmp_path / "net.safetensors")
    kind = {"task": "super_resolution" if scale > 1 else "denoising", "scale": scale}
    exact, rounded = (
        load_network(card(dtype=dtype, **kind), ModelStore(tmp_path))(picture(40, 33), ProgressToken()).pixels
        for dtype in ("float32", "bfloat16")
    )
    assert 0 < float((rounded - exact).abs().max()) < 0.01


def test_a_network_in_bfloat16_is_deterministic(weights: Path) -> None:
    once, again = (
        load_network(card(dtype="bfloat16"), ModelStore(weights))(picture(40, 900), ProgressToken()) for _ in range(2)
    )
    assert torch.equal(once.pixels, again.pixels)
