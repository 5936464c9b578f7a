"""Exported graphs as experts: an ONNX file through onnxruntime, run over images tile by tile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imaging.device import best_device
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.tiling import run_tiled
from toolbox.availability import availability
from toolbox.card import ExpertCard
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.store import ModelStore

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

PROBE_SIDE = 64
NUMBERS = {"tensor(float)": "float32", "tensor(float16)": "float16"}


@dataclass(frozen=True, slots=True)
class GraphExpert:
    """A graph of one input and one output, (1, 3, h, w) RGB each."""

    card: ExpertCard
    session: Any
    fixed: tuple[int | None, int | None]
    """Height and width that the graph insists on."""
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
        """A tile is padded to what the graph insists on, and its result cut back."""
        import torch

        height, width = tile.shape[-2:]
        missing = [max(0, (side or have) - have) for side, have in zip(self.fixed, (height, width), strict=True)]
        padded = torch.nn.functional.pad(tile, (0, missing[1], 0, missing[0]), mode="replicate")
        return self.infer(padded)[..., : height * self.card.scale, : width * self.card.scale]

    def infer(self, pixels: Tensor) -> Tensor:
        """The graph itself on pixels of a size that it takes."""
        import torch

        inputs = self.session.get_inputs()[0]
        symmetric = self.card.value_range == "symmetric"
        array = (pixels * 2 - 1 if symmetric else pixels).cpu().numpy().astype(NUMBERS[inputs.type])
        result = torch.from_numpy(self.session.run(None, {inputs.name: array})[0]).float()
        return result / 2 + 0.5 if symmetric else result


def load_graph(card: ExpertCard, store: ModelStore) -> GraphExpert:
    """The graph of a card, tried once.

    Raises `WeightsMissing` where file or onnxruntime are not there, and `WeightsError` where the graph does not map
    a colour picture to one of the card's scale.
    """
    expert = _opened(card, store)
    if (found := _scale(expert)) != card.scale:
        raise WeightsError(f"expert {card.name}: its graph enlarges {found}x, not {card.scale}x")
    return expert


def scale_of(card: ExpertCard, store: ModelStore) -> int:
    """How many times the graph of a card enlarges, whatever the card says. Raises as `load_graph`."""
    return _scale(_opened(card, store))


def _opened(card: ExpertCard, store: ModelStore) -> GraphExpert:
    state = availability(card, store)
    if card.file is None or not state.can_run:
        raise WeightsMissing(f"expert {card.name} cannot run here", state.advice)
    path = store.path(card.file.name)
    session = _session(path)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    if len(outputs) != 1 or len(shape) != 4 or shape[1] != 3 or inputs[0].type not in NUMBERS:
        raise WeightsError(f"{path.name} does not map one (1, 3, h, w) float picture to one", "export it so")
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
    except Exception as error:  # onnxruntime's own errors have no common class but this one
        raise WeightsError(f"{path.name} cannot be loaded: {str(error).split(chr(10), 1)[0]}") from error


def _scale(expert: GraphExpert) -> int:
    import torch

    name, unit = expert.card.file.name if expert.card.file else "", expert.card.multiple_of
    height, width = (side or -(-PROBE_SIDE // unit) * unit for side in expert.fixed)
    try:
        result = expert.infer(torch.full((1, 3, height, width), 0.5))
    except Exception as error:  # as above
        why = str(error).split("\n", 1)[0]
        raise WeightsError(f"{name} fails on {width}x{height}: {why}", "is multiple_of right in its card?") from error
    shape, scale = tuple(result.shape), result.shape[-1] // width
    if shape != (1, 3, height * scale, width * scale) or scale == 0:
        raise WeightsError(f"{name} makes {shape} of (1, 3, {height}, {width}), which is no enlarged picture")
    return scale
