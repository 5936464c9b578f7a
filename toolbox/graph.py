"""Experts whose network is an ONNX graph, run by onnxruntime tile by tile in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.tiling import run_tiled
from toolbox.availability import availability
from toolbox.card import VALUE_RANGES, OnnxCard
from toolbox.errors import ExpertError, WeightsError, WeightsMissing
from toolbox.graph_process import Check, GraphProcess
from toolbox.network import at_scale
from toolbox.store import ModelStore

if TYPE_CHECKING:
    from torch import Tensor

PROBE_SIDE = 64
DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


@dataclass(frozen=True, slots=True)
class GraphExpert:
    """A graph with one input and one output, both (1, 3, h, w) RGB, or (1, 1, h, w) for each channel."""

    card: OnnxCard
    process: GraphProcess
    dtype: str
    fixed: tuple[int | None, int | None]
    """Height and width of the input, where the graph fixes them."""
    channels: int = 3
    weight_bytes: int = field(default=0)

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        """Run the graph over the image. Raises `Cancelled` also while a tile is computed."""
        latest = 0.0

        def report(fraction: float) -> None:
            nonlocal latest
            latest = fraction
            token.report(fraction)

        pixels = run_tiled(
            lambda tile: self._run(tile, lambda: token.report(latest)),
            image.pixels,
            scale=self.card.scale,
            tile=min((side for side in self.fixed if side), default=self.card.tile + 2 * self.card.halo),
            halo=self.card.halo,
            multiple_of=1 if any(self.fixed) else self.card.multiple_of,
            token=token.watched_by(report),
        )
        return image.with_pixels(pixels)

    def _run(self, tile: Tensor, check: Check) -> Tensor:
        """Pad a tile to the fixed size of the input, if any, and crop the result."""
        import torch

        height, width = tile.shape[-2:]
        missing = [max(0, (side or have) - have) for side, have in zip(self.fixed, (height, width), strict=True)]
        padded = torch.nn.functional.pad(tile, (0, missing[1], 0, missing[0]), mode="replicate")
        result = at_scale(self.infer(padded, check), padded, self.card.scale)
        return result[..., : height * self.card.scale, : width * self.card.scale]

    def infer(self, pixels: Tensor, check: Check) -> Tensor:
        """The output of the graph for pixels of a size that it accepts.

        Raises `ExpertError`, and errors of `check`.
        """
        import torch

        factor, offset = VALUE_RANGES[self.card.value_range]
        array = (pixels * factor + offset).cpu().numpy().astype(self.dtype)
        parts = np.split(array, 3, axis=1) if self.channels == 1 else [array]
        result = np.concatenate([self.process(part, check) for part in parts], axis=1)
        return (torch.from_numpy(result) - offset) / factor


def load_graph(card: OnnxCard, store: ModelStore, token: ProgressToken | None = None) -> GraphExpert:
    """The graph of a card, after one test run.

    Raises `WeightsMissing` if the file or onnxruntime is missing, `WeightsError` if the graph does not map a colour
    image to one that is the card's scale times as large, and `Cancelled`.
    """
    check = (token or ProgressToken()).check
    expert = _opened(card, store, check)
    expected = card.network_scale or card.scale
    if (found := _scale(expert, check)) != expected:
        raise WeightsError(f"expert {card.name}: its graph has scale {found}x, not {expected}x")
    return expert


def scale_of(card: OnnxCard, store: ModelStore) -> int:
    """Output size / input size of a card's graph, measured by a test run. Raises as `load_graph`."""
    check = ProgressToken().check
    return _scale(_opened(card, store, check), check)


def _opened(card: OnnxCard, store: ModelStore, check: Check) -> GraphExpert:
    state = availability(card, store)
    if not state.can_run:
        raise WeightsMissing(f"expert {card.name} cannot run here", state.advice)
    path = store.path(card.file.name)
    process = GraphProcess(path)
    try:
        graph = process.signature(check)
    except ExpertError as error:
        raise WeightsError(f"{path.name} cannot be loaded: {error.message}") from error
    shape = graph.shapes[0] if len(graph.shapes) == 1 else []
    if graph.outputs != 1 or len(shape) != 4 or shape[1] not in (1, 3) or graph.types[0] not in DTYPES:
        raise WeightsError(
            f"{path.name} does not map one (1, 3, h, w) or (1, 1, h, w) float tensor to one",
            "export it with one input and one output",
        )
    fixed = tuple(side if isinstance(side, int) and side > 0 else None for side in shape[2:])
    channels = 1 if shape[1] == 1 else 3
    return GraphExpert(card, process, DTYPES[graph.types[0]], (fixed[0], fixed[1]), channels, path.stat().st_size)


def _scale(expert: GraphExpert, check: Check) -> int:
    import torch

    name, unit = expert.card.file.name, expert.card.multiple_of
    height, width = (side or -(-PROBE_SIDE // unit) * unit for side in expert.fixed)
    try:
        result = expert.infer(torch.full((1, 3, height, width), 0.5), check)
    except ExpertError as error:
        raise WeightsError(
            f"{name} fails on {width}x{height}: {error.message}", "check multiple_of in its card"
        ) from error
    shape, scale = tuple(result.shape), result.shape[-1] // width
    if shape != (1, 3, height * scale, width * scale) or scale == 0:
        raise WeightsError(f"{name} maps (1, 3, {height}, {width}) to {shape}, which is not an integer scale")
    return scale
