"""Experts whose network is an ONNX graph, run by onnxruntime tile by tile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imaging.device import best_device
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.tiling import run_tiled
from toolbox.availability import availability
from toolbox.card import OnnxCard
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.store import ModelStore

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

PROBE_SIDE = 64
DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


@dataclass(frozen=True, slots=True)
class GraphExpert:
    """A graph with one input and one output, both (1, 3, h, w) RGB."""

    card: OnnxCard
    session: Any
    fixed: tuple[int | None, int | None]
    """Height and width of the input, where the graph fixes them."""
    weight_bytes: int = field(default=0)

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        """Run the graph over the image."""
        pixels = run_tiled(
            self._run,
            image.pixels,
            scale=self.card.scale,
            tile=min((side for side in self.fixed if side), default=self.card.tile + 2 * self.card.halo),
            halo=self.card.halo,
            multiple_of=1 if any(self.fixed) else self.card.multiple_of,
            token=token,
        )
        return image.with_pixels(pixels)

    def _run(self, tile: Tensor) -> Tensor:
        """Pad a tile to the fixed size of the input, if any, and crop the result."""
        import torch

        height, width = tile.shape[-2:]
        missing = [max(0, (side or have) - have) for side, have in zip(self.fixed, (height, width), strict=True)]
        padded = torch.nn.functional.pad(tile, (0, missing[1], 0, missing[0]), mode="replicate")
        return self.infer(padded)[..., : height * self.card.scale, : width * self.card.scale]

    def infer(self, pixels: Tensor) -> Tensor:
        """The output of the graph for pixels of a size that it accepts."""
        import torch

        inputs = self.session.get_inputs()[0]
        symmetric = self.card.value_range == "symmetric"
        array = (pixels * 2 - 1 if symmetric else pixels).cpu().numpy().astype(DTYPES[inputs.type])
        result = torch.from_numpy(self.session.run(None, {inputs.name: array})[0]).float()
        return result / 2 + 0.5 if symmetric else result


def load_graph(card: OnnxCard, store: ModelStore) -> GraphExpert:
    """The graph of a card, after one test run.

    Raises `WeightsMissing` if the file or onnxruntime is missing, and `WeightsError` if the graph does not map a
    colour image to one that is the card's scale times as large.
    """
    expert = _opened(card, store)
    if (found := _scale(expert)) != card.scale:
        raise WeightsError(f"expert {card.name}: its graph has scale {found}x, not {card.scale}x")
    return expert


def scale_of(card: OnnxCard, store: ModelStore) -> int:
    """Output size / input size of a card's graph, measured by a test run. Raises as `load_graph`."""
    return _scale(_opened(card, store))


def _opened(card: OnnxCard, store: ModelStore) -> GraphExpert:
    state = availability(card, store)
    if not state.can_run:
        raise WeightsMissing(f"expert {card.name} cannot run here", state.advice)
    path = store.path(card.file.name)
    session = _session(path)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    if len(outputs) != 1 or len(shape) != 4 or shape[1] != 3 or inputs[0].type not in DTYPES:
        raise WeightsError(
            f"{path.name} does not map one (1, 3, h, w) float tensor to one",
            "export it with one input and one output",
        )
    fixed = tuple(side if isinstance(side, int) and side > 0 else None for side in shape[2:])
    return GraphExpert(card, session, (fixed[0], fixed[1]), path.stat().st_size)


def _session(path: Path) -> Any:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    wanted = ["CPUExecutionProvider"]
    if best_device().type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        wanted.insert(0, "CUDAExecutionProvider")
    try:
        return onnxruntime.InferenceSession(path, options, providers=wanted)
    except Exception as error:  # the errors of onnxruntime have no other common base class
        raise WeightsError(f"{path.name} cannot be loaded: {str(error).split(chr(10), 1)[0]}") from error


def _scale(expert: GraphExpert) -> int:
    import torch

    name, unit = expert.card.file.name, expert.card.multiple_of
    height, width = (side or -(-PROBE_SIDE // unit) * unit for side in expert.fixed)
    try:
        result = expert.infer(torch.full((1, 3, height, width), 0.5))
    except Exception as error:  # as above
        why = str(error).split("\n", 1)[0]
        raise WeightsError(f"{name} fails on {width}x{height}: {why}", "check multiple_of in its card") from error
    shape, scale = tuple(result.shape), result.shape[-1] // width
    if shape != (1, 3, height * scale, width * scale) or scale == 0:
        raise WeightsError(f"{name} maps (1, 3, {height}, {width}) to {shape}, which is not an integer scale")
    return scale
