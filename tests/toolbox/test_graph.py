"""ONNX experts, with small graphs built by the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.availability import availability
from toolbox.card import OnnxCard
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.expert import load_expert, run_expert
from toolbox.graph import load_graph
from toolbox.store import ModelStore


def card(**changes: Any) -> OnnxCard:
    return OnnxCard.model_validate(
        {"name": "graph", "task": "denoising", "loader": "onnx", "about": "", "source": ""}
        | {"file": {"name": "graph.onnx"}, "tile": 64, "halo": 8}
        | changes
    )


def write_graph(
    folder: Path,
    *,
    height: int | str = "h",
    width: int | str = "w",
    channels: int = 3,
    scale: int = 1,
    multiple_of: int = 1,
    kind: int = TensorProto.FLOAT,
) -> ModelStore:
    """A graph that inverts an image and upscales it by repetition; it fails for sizes off the grid `multiple_of`."""
    values = {"one": torch.ones(1), "scales": torch.tensor([1.0, 1.0, scale, scale])}
    kinds = {"one": kind, "scales": TensorProto.FLOAT}
    constants = [helper.make_tensor(n, kinds[n], v.shape, v.flatten().tolist()) for n, v in values.items()]
    nodes = [helper.make_node("Sub", ["one", "picture"], ["inverted"])]
    last = "inverted"
    if multiple_of > 1:
        nodes.append(helper.make_node("SpaceToDepth", [last], ["deep"], blocksize=multiple_of))
        nodes.append(helper.make_node("DepthToSpace", ["deep"], ["flat"], blocksize=multiple_of))
        last = "flat"
    nodes.append(helper.make_node("Resize", [last, "", "scales"], ["result"], mode="nearest"))
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("picture", kind, [1, channels, height, width])],
        [helper.make_tensor_value_info("result", kind, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "graph.onnx")
    return ModelStore(folder)


def picture(height: int, width: int) -> Image:
    return Image(torch.rand(3, height, width, generator=torch.Generator().manual_seed(1)))


def test_a_graph_runs_over_many_tiles(tmp_path: Path) -> None:
    image = picture(70, 200)
    result = run_expert(load_expert(card(), write_graph(tmp_path)), image, ProgressToken())
    assert torch.allclose(result.pixels, 1 - image.pixels, atol=1e-6)


def test_a_graph_upscales_by_the_scale_of_its_card(tmp_path: Path) -> None:
    enlarging = card(task="super_resolution", scale=4)
    result = run_expert(load_expert(enlarging, write_graph(tmp_path, scale=4)), picture(20, 90), ProgressToken())
    assert (result.height, result.width) == (80, 360)


@pytest.mark.parametrize("size", [(20, 30), (64, 96), (100, 230)])
def test_a_graph_of_fixed_size_accepts_any_image_size(size: tuple[int, int], tmp_path: Path) -> None:
    image = picture(*size)
    expert = load_expert(card(), write_graph(tmp_path, height=64, width=96))
    assert torch.allclose(run_expert(expert, image, ProgressToken()).pixels, 1 - image.pixels, atol=1e-6)


def test_a_graph_that_needs_multiples_accepts_any_size(tmp_path: Path) -> None:
    image = picture(37, 151)
    expert = load_expert(card(multiple_of=8), write_graph(tmp_path, multiple_of=8))
    assert torch.allclose(run_expert(expert, image, ProgressToken()).pixels, 1 - image.pixels, atol=1e-6)


def test_a_float16_graph_gets_float16_input(tmp_path: Path) -> None:
    image = picture(40, 40)
    result = run_expert(load_expert(card(), write_graph(tmp_path, kind=TensorProto.FLOAT16)), image, ProgressToken())
    assert torch.allclose(result.pixels, 1 - image.pixels, atol=2e-3)


def test_a_symmetric_value_range_is_converted(tmp_path: Path) -> None:
    """1 - x on [-1, 1] is 1 - 2p + 1 of a pixel p, which back in [0, 1] is 1.5 - p."""
    image = picture(40, 40)
    result = run_expert(load_expert(card(value_range="symmetric"), write_graph(tmp_path)), image, ProgressToken())
    assert torch.allclose(result.pixels, (1.5 - image.pixels).clamp(0, 1), atol=1e-6)


def test_a_grey_graph_runs_on_each_channel(tmp_path: Path) -> None:
    image = picture(40, 90)
    result = run_expert(load_expert(card(), write_graph(tmp_path, channels=1)), image, ProgressToken())
    assert torch.allclose(result.pixels, 1 - image.pixels, atol=1e-6)


def test_a_graph_of_another_scale_is_resized_to_the_scale_of_its_card(tmp_path: Path) -> None:
    enlarging = card(task="super_resolution", scale=4, network_scale=3)
    expert = load_expert(enlarging, write_graph(tmp_path, scale=3))
    image = picture(20, 200)
    result = run_expert(expert, image, ProgressToken())
    assert (result.height, result.width) == (80, 800)
    blurred = torch.nn.functional.avg_pool2d(result.pixels[None], 4)[0]
    assert float((blurred - (1 - image.pixels)).abs().mean()) < 0.05


def test_a_scale_that_differs_from_the_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="2x, not 1x"):
        load_graph(card(), write_graph(tmp_path, scale=2))


@pytest.mark.parametrize(
    "graph", [{"channels": 2}, {"kind": TensorProto.DOUBLE}, {"multiple_of": 7}], ids=["two", "double", "odd grid"]
)
def test_a_graph_that_does_not_fit_is_refused(graph: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"graph\.onnx"):
        load_graph(card(), write_graph(tmp_path, **graph))  # type: ignore[arg-type]


def test_a_file_that_is_not_a_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_graph(card(), ModelStore(tmp_path))


def test_the_error_for_a_missing_graph_says_how_to_export_it(tmp_path: Path) -> None:
    missing = card(alternatives=["nlm_denoise"])
    assert availability(missing, ModelStore(tmp_path)).state == "by hand"
    with pytest.raises(WeightsMissing, match=r"export it to graph\.onnx.*nlm_denoise"):
        load_graph(missing, ModelStore(tmp_path))


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolbox.availability.find_spec", lambda name: None)
    state = availability(card(), write_graph(tmp_path))
    assert state.state == "needs extra"
    assert "restore4k[onnx]" in state.advice
