"""Networks written in ncnn's format, as its converters write them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact
from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet
from torch import Tensor, nn

from toolbox.ncnn_weights import FIRST_LINE, FLOAT16, LEAKY_SLOPE, RESIDUAL_SCALE


class NcnnWriter:
    """The lines of a .param file and the bytes of a .bin file."""

    def __init__(self, half: bool) -> None:
        self.half, self.lines, self.content, self.count = half, ["Input in 0 1 data"], b"", 0

    def layer(self, kind: str, inputs: list[str], options: str = "", output: str = "") -> str:
        """Add a layer and return the name of its output."""
        self.count += 1
        output = output or f"blob{self.count}"
        self.lines.append(f"{kind} layer{self.count} {len(inputs)} 1 {' '.join(inputs)} {output} {options}".strip())
        return output

    def convolution(self, layer: nn.Conv2d, source: str, leaky: bool = False, output: str = "") -> str:
        """Add a convolution, with a fused leaky ReLU if `leaky`."""
        weight, bias = layer.weight.detach(), layer.bias
        assert bias is not None  # noqa: S101
        options = f"0={len(weight)} 1={weight.shape[-1]} 4={weight.shape[-1] // 2} 5=1 6={weight.numel()}"
        options += f" 9=2 -23310=1,{LEAKY_SLOPE:e}" if leaky else ""
        array = weight.numpy().astype(np.float16 if self.half else np.float32).tobytes()
        self.content += struct.pack("<I", FLOAT16 if self.half else 0) + array + bytes(-len(array) % 4)
        self.content += bias.detach().numpy().tobytes()
        return self.layer("Convolution", [source], options, output)

    def slopes(self, slopes: Tensor, source: str) -> str:
        """Add a PReLU."""
        self.content += slopes.detach().numpy().tobytes()
        return self.layer("PReLU", [source], f"0={slopes.numel()}")

    def write(self, param: Path) -> None:
        """Write both files. ncnn requires every output to be read once: one read more often is split first."""
        split = _with_splits(self.lines)
        blobs = sum(int(line.split()[3]) for line in split)
        param.write_text("\n".join([FIRST_LINE, f"{len(split)} {blobs}", *split]) + "\n", "utf-8")
        param.with_suffix(".bin").write_bytes(self.content)


def write_compact(network: SRVGGNetCompact, param: Path, half: bool = True) -> None:
    """Write a Compact network."""
    writer, blob = NcnnWriter(half), "data"
    for layer in network.body:
        blob = writer.slopes(layer.weight, blob) if isinstance(layer, nn.PReLU) else writer.convolution(layer, blob)
    large = writer.layer("PixelShuffle", [blob], f"0={network.upscale}")
    base = writer.layer("Interp", ["data"], f"0=1 1={network.upscale:e} 2={network.upscale:e}")
    writer.layer("BinaryOp", [large, base], "0=0", "output")
    writer.write(param)


def write_rrdb(network: RRDBNet, param: Path, half: bool = True, fused: bool = True) -> None:
    """Write an RRDBNet; with activations and scaled additions as layers of their own unless `fused`."""
    writer = NcnnWriter(half)
    state = dict(network.named_modules())

    def convolution(name: str, source: str, leaky: bool, output: str = "") -> str:
        layer = state[name]
        assert isinstance(layer, nn.Conv2d)  # noqa: S101
        if not leaky or fused:
            return writer.convolution(layer, source, leaky, output)
        return writer.layer("ReLU", [writer.convolution(layer, source)], f"0={LEAKY_SLOPE:e}")

    def added(small: str, source: str) -> str:
        if fused:
            return writer.layer("Eltwise", [small, source], f"0=1 -23301=2,{RESIDUAL_SCALE:e},1.0e+00")
        return writer.layer(
            "BinaryOp", [writer.layer("BinaryOp", [small], f"0=2 1=1 2={RESIDUAL_SCALE:e}"), source], "0=0"
        )

    first = blob = convolution("model.0", "data", leaky=False)
    blocks = sum(name.endswith(".RDB1") for name in state)
    for block in range(blocks):
        before = blob
        for part in (1, 2, 3):
            dense = [blob]
            for number in (1, 2, 3, 4, 5):
                source = writer.layer("Concat", dense) if len(dense) > 1 else blob
                dense.append(convolution(f"model.1.sub.{block}.RDB{part}.conv{number}.0", source, leaky=number < 5))
            blob = added(dense[-1], blob)
        blob = added(blob, before)
    blob = writer.layer("BinaryOp", [first, convolution(f"model.1.sub.{blocks}", blob, leaky=False)], "0=0")
    _, *upsampling, last, final = (
        name for name, module in state.items() if name.count(".") == 1 and isinstance(module, nn.Conv2d)
    )
    for name in upsampling:
        blob = convolution(name, writer.layer("Interp", [blob], "0=1 1=2.0e+00 2=2.0e+00"), leaky=True)
    convolution(final, convolution(last, blob, leaky=True), leaky=False, output="output")
    writer.write(param)


def _with_splits(lines: list[str]) -> list[str]:
    words = [line.split() for line in lines]
    readers: dict[str, int] = {}
    for line in words:
        for blob in line[4 : 4 + int(line[2])]:
            readers[blob] = readers.get(blob, 0) + 1
    used: dict[str, int] = {}
    result = []
    for line in words:
        inputs = int(line[2])
        for place in range(4, 4 + inputs):
            blob = line[place]
            if readers[blob] > 1:
                line[place] = f"{blob}_split_{used.setdefault(blob, 0)}"
                used[blob] += 1
        result.append(" ".join(line))
        blob = line[4 + inputs]
        if readers.get(blob, 0) > 1:
            parts = " ".join(f"{blob}_split_{number}" for number in range(readers[blob]))
            result.append(f"Split split_{blob} 1 {readers[blob]} {blob} {parts}")
    return result
