"""Reading of convolutional networks in ncnn's format (.param and .bin) as state dicts of spandrel's architectures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolbox.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

FIRST_LINE = "7767517"
LARGEST_PARAM = 1 << 22
"""Maximum bytes of a .param file; Real-ESRGAN's has 117 kB."""
FLOAT16, FLOAT32 = 0x01306B47, (0, 0x0002C056)
"""Tags before the weights of a layer, which give their format."""
IGNORED = ("Input", "Split", "Noop", "Dropout")
RESIDUAL_SCALE = LEAKY_SLOPE = 0.2
"""Constants of RRDBNet, which a state dict does not contain."""
RRDB = re.compile("U?C((?:(?:LKLKLKLKCE){3}E)+)CA((?:IL)+)LC")
"""Sequence of layers of an RRDBNet (ESRGAN), in the letters of `_letter`; 15 convolutions per block."""
COMPACT = re.compile("(?:CP)+CDIA")
"""Sequence of layers of a Compact network (SRVGGNetCompact)."""
SPAN = re.compile("(?P<mean>VS(?P<range>N)?)?C(?:CWCWCGHAT){6}CKCCD")
"""Sequence of layers of a SPAN, with each Conv3XC folded into one convolution."""
SPAN_MEAN, SPAN_RANGE = (0.4488, 0.4371, 0.4040), 255.0
"""Constants of spandrel's SPAN: it subtracts the mean from its input, and multiplies the difference by the range."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A line of a .param file."""

    kind: str
    options: dict[int, float]
    """Its numbers by key."""
    lists: dict[int, list[float]]
    """Its arrays by key: -23310 is stored as 10."""

    def integer(self, key: int) -> int:
        """A whole number; 0 if the key is missing."""
        return int(self.options.get(key, 0))


def param_and_bin(file: Path) -> tuple[Path, Path]:
    """The two files of a network in ncnn's format; `file` is either of them."""
    return file.with_suffix(".param"), file.with_suffix(".bin")


def read_ncnn(file: Path) -> dict[str, Tensor]:
    """The float32 weights of an RRDBNet, Compact network or SPAN, under spandrel's names.

    Raises `WeightsError` if a file is missing or damaged, or contains another architecture.
    """
    param, weights = param_and_bin(file)
    for part in (param, weights):
        if not part.is_file():
            raise WeightsError(
                f"{part.name} is missing beside {file.name}", "a network for ncnn consists of both files"
            )
    try:
        layers = _read_layers(param)
        arrays = list(_read_arrays(layers, weights.read_bytes()))
        letters = "".join(map(_letter, layers)).replace("CR", "L").replace("ME", "E").replace("MA", "E")
    except (ValueError, IndexError, OverflowError) as error:
        raise WeightsError(f"{param.name} or {weights.name} is damaged: {error}") from error
    for pattern, named in ((RRDB, _name_rrdb), (COMPACT, _name_compact), (SPAN, _name_span)):
        if match := pattern.fullmatch(letters):
            try:
                return named(match, arrays)
            except ValueError as error:
                raise WeightsError(f"{param.name} does not fit {weights.name}: {error}") from error
    raise WeightsError(
        f"{param.name} is not an RRDBNet (ESRGAN), Compact network or SPAN; no others are read from ncnn's format",
        "use the .pth or .safetensors file of the network, or export it to .onnx",
    )


def _read_layers(param: Path) -> list[Layer]:
    if param.stat().st_size > LARGEST_PARAM:
        raise ValueError(f"{param.name} has more than {LARGEST_PARAM} bytes")
    first, counts, *lines = param.read_text("utf-8").splitlines()
    if first.strip() != FIRST_LINE:
        raise ValueError(f"the first line is not {FIRST_LINE}")
    layers = [_layer(line.split()) for line in lines if line.strip()]
    if len(layers) != int(counts.split()[0]):
        raise ValueError(f"{len(layers)} layers, not {counts.split()[0]}")
    return [layer for layer in layers if layer.kind not in IGNORED]


def _layer(words: list[str]) -> Layer:
    """`kind name inputs outputs blob... key=value...`; an array has the key -23300 - key, and its length in front."""
    options: dict[int, float] = {}
    lists: dict[int, list[float]] = {}
    for word in words[4 + int(words[2]) + int(words[3]) :]:
        key, _, value = word.partition("=")
        if int(key) <= -23300:
            lists[-23300 - int(key)] = [float(part) for part in value.split(",")[1:]]
        else:
            options[int(key)] = float(value)
    return Layer(words[0], options, lists)


def _letter(layer: Layer) -> str:
    """The layer as a letter: `?` where its options are not those of a known network."""
    kind, options = layer.kind, layer.options
    if kind == "Convolution":
        fused = {0: "C", 2: "L"}.get(layer.integer(9), "?")
        plain = all(options.get(key, 1) == 1 for key in (2, 3, 8)) and layer.integer(5) == 1
        leaky = fused != "L" or _is(layer.lists.get(10, []), [LEAKY_SLOPE])
        return fused if plain and leaky and layer.integer(4) == layer.integer(1) // 2 else "?"
    if kind == "ReLU":
        return "R" if _is([options.get(0, 0.0)], [LEAKY_SLOPE]) else "?"
    if kind == "Eltwise" and layer.integer(0) == 1:
        factors = layer.lists.get(1, [])
        return "E" if _is(factors, [RESIDUAL_SCALE, 1.0]) else "?" if factors else "A"
    if kind == "BinaryOp":
        return _letter_of_operation(layer)
    if kind == "Interp":
        return "I" if layer.integer(0) == 1 else "?"
    if kind == "MemoryData":
        return "V" if options.get(21, 1) == 1 else "?"
    letters = {"Concat": "K", "PReLU": "P", "PixelShuffle": "D", "Reorg": "U", "Swish": "W", "Sigmoid": "G"}
    return letters.get(kind, "?")


def _letter_of_operation(layer: Layer) -> str:
    """The letter of a sum, difference or product of two tensors, or of a tensor and a number."""
    operation, number = layer.integer(0), layer.options.get(2, 0.0)
    if not layer.integer(1):
        return {0: "A", 1: "S", 2: "T"}.get(operation, "?")
    if operation == 1 and _is([number], [0.5]):
        return "H"
    return "?" if operation != 2 else "M" if _is([number], [RESIDUAL_SCALE]) else "N"


def _is(found: list[float], expected: list[float]) -> bool:
    return len(found) == len(expected) and bool(np.allclose(found, expected, atol=1e-4))


def _read_arrays(layers: list[Layer], content: bytes) -> Iterator[NDArray[np.float32]]:
    """Weights and biases in the order of the layers: convolutions have both, PReLU has slopes, others a constant."""
    read = _Reader(content)
    for layer in layers:
        if layer.kind == "Convolution":
            height, width = layer.integer(11) or layer.integer(1), layer.integer(1)
            weights, size = read.tagged(layer.integer(6)), layer.integer(0) * height * width
            if size <= 0 or weights.size % size:
                raise ValueError(f"{weights.size} weights do not fit {layer.integer(0)} channels of {width}x{height}")
            yield weights.reshape(layer.integer(0), -1, height, width)
            if layer.integer(5):
                yield read.raw(layer.integer(0), np.float32)
        elif layer.kind == "PReLU":
            yield read.raw(layer.integer(0), np.float32)
        elif layer.kind == "MemoryData":
            yield read.raw(layer.integer(0) * max(1, layer.integer(1)) * max(1, layer.integer(2)), np.float32)
        elif _letter(layer) == "N":
            yield np.array([layer.options[2]], np.float32)
    if read.position != len(content):
        raise ValueError(f"{len(content) - read.position} bytes are left over")


class _Reader:
    """Reads consecutive arrays from the content of a .bin file."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def raw(self, count: int, dtype: Any) -> NDArray[np.float32]:
        """The next `count` numbers, whose bytes are padded to a multiple of 4."""
        size = count * np.dtype(dtype).itemsize
        if count < 0 or self.position + size > len(self.content):
            raise ValueError("the .bin file is too short")
        array = np.frombuffer(self.content, dtype, count, self.position).astype(np.float32)
        self.position += -(-size // 4) * 4
        if not np.isfinite(array).all():
            raise ValueError("weights are not finite")
        return array

    def tagged(self, count: int) -> NDArray[np.float32]:
        """The next `count` weights, after the tag of their format."""
        tag = int.from_bytes(self.content[self.position : self.position + 4], "little")
        self.position += 4
        if tag != FLOAT16 and tag not in FLOAT32:
            raise ValueError(f"weights are stored as 0x{tag:08X}, not as float16 or float32")
        return self.raw(count, np.float16 if tag == FLOAT16 else np.float32)


def _name_rrdb(match: re.Match[str], arrays: list[NDArray[np.float32]]) -> dict[str, Tensor]:
    blocks, upsamplings = match[1].count("EE"), match[2].count("I")
    names = ["conv_first"]
    names += [f"body.{b}.rdb{r}.conv{c}" for b in range(blocks) for r in (1, 2, 3) for c in (1, 2, 3, 4, 5)]
    names += ["conv_body", *(f"conv_up{number + 1}" for number in range(upsamplings)), "conv_hr", "conv_last"]
    return _as_state_dict([f"{name}.{part}" for name in names for part in ("weight", "bias")], arrays)


def _name_compact(match: re.Match[str], arrays: list[NDArray[np.float32]]) -> dict[str, Tensor]:
    activations = match[0].count("P")
    names = []
    for place in range(0, 2 * activations, 2):
        names += [f"body.{place}.weight", f"body.{place}.bias", f"body.{place + 1}.weight"]
    last = f"body.{2 * activations}"
    return _as_state_dict([*names, f"{last}.weight", f"{last}.bias"], arrays)


def _name_span(match: re.Match[str], arrays: list[NDArray[np.float32]]) -> dict[str, Tensor]:
    """Another mean is merged into the bias of the first convolution, which is exact except at the outermost pixels;
    another range into its weights. The entry `no_norm` marks a network that subtracts no mean.
    """
    mean = arrays.pop(0) if match["mean"] else None
    factor = float(arrays.pop(0)[0]) if match["range"] else 1.0
    if mean is not None:
        shift = np.asarray(SPAN_MEAN, np.float32) - mean
        arrays[1] = arrays[1] + np.float32(factor) * np.einsum("oikl,i->o", arrays[0], shift)
        arrays[0] = arrays[0] * np.float32(factor / SPAN_RANGE)
    folded = ["conv_1", *(f"block_{block}.c{number}_r" for block in range(1, 7) for number in (1, 2, 3)), "conv_2"]
    names = [f"{name}.{part}" for name in (*folded, "conv_cat", "upsampler.0") for part in ("weight", "bias")]
    plain = _as_state_dict(names, arrays)
    state = {name: value for name, value in plain.items() if name.startswith(("conv_cat", "upsampler"))}
    for name in folded:
        state |= unfolded_convolution(name, plain[f"{name}.weight"], plain[f"{name}.bias"])
    return state if mean is not None else {**state, "no_norm": plain["conv_cat.bias"].new_zeros(1)}


def unfolded_convolution(name: str, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Branches of SPAN's Conv3XC, which it folds before use, that fold into exactly this convolution.

    One branch is zero. In the other, 1x1 convolutions double the channels with zeros and drop the added half again.
    """
    import torch

    outputs, inputs = weight.shape[:2]
    wide, wide_bias = weight.new_zeros(2 * outputs, 2 * inputs, 3, 3), weight.new_zeros(2 * outputs)
    wide[:outputs, :inputs], wide_bias[:outputs] = weight, bias
    layers = {
        "sk": (weight.new_zeros(outputs, inputs, 1, 1), weight.new_zeros(outputs)),
        "conv.0": (torch.eye(2 * inputs, inputs)[..., None, None], weight.new_zeros(2 * inputs)),
        "conv.1": (wide, wide_bias),
        "conv.2": (torch.eye(outputs, 2 * outputs)[..., None, None], weight.new_zeros(outputs)),
        "eval_conv": (weight, bias),
    }
    return {
        f"{name}.{layer}.{part}": value
        for layer, pair in layers.items()
        for part, value in zip(("weight", "bias"), pair, strict=True)
    }


def _as_state_dict(names: list[str], arrays: list[NDArray[np.float32]]) -> dict[str, Tensor]:
    import torch

    return dict(zip(names, map(torch.from_numpy, arrays), strict=True))
