"""The gain of a network in PSNR on held-out photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from imaging.convert import FloatArray
from training.data.loading import Bytes, central_patch, stack
from training.data.pairs import kinds

SIDE = 128
TOGETHER = 8


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean PSNR (RGB, in dB) against the clean patches."""

    input_db: float
    """PSNR of the degraded patches."""
    given_db: float
    """PSNR of the input of the network: the degraded patches, or the results of a classical expert."""
    output_db: float
    """PSNR of the output of the network."""


class Row(NamedTuple):
    """One held-out patch, (h, w, 3): degraded, as the network gets it, and the original."""

    degraded: FloatArray
    given: FloatArray
    target: FloatArray


def held_out_rows(held_out: list[Bytes], degrade: str, scale: int) -> dict[str, list[Row]]:
    """Patches for each degradation in a recipe's `degrade`, with fixed random seeds."""
    patches = [central_patch(photo, SIDE) for photo in held_out]
    rows = {}
    for number, (kind, make) in enumerate(kinds(degrade, scale).items()):
        pairs = [make(patch, np.random.default_rng([number, index])) for index, patch in enumerate(patches)]
        rows[kind] = [Row(given, given, target) for given, target in pairs]
    return rows


def gains(network: Callable[[Tensor], Tensor], rows: dict[str, list[Row]], scale: int) -> dict[str, Gain]:
    """The gain of a network, by degradation. Smaller inputs are enlarged bicubically to measure them.

    `network` maps (B, 3, h, w) to (B, 3, h * scale, w * scale).
    """
    gained = {}
    for kind, patches in rows.items():
        degraded, given, targets = (stack(list(part)) for part in zip(*patches, strict=True))
        with torch.inference_mode():
            outputs = torch.cat([network(part).cpu() for part in torch.split(given, TOGETHER)])
        before, deconvolved = (_psnr(_enlarged(part, scale), targets) for part in (degraded, given))
        gained[kind] = Gain(before, deconvolved, _psnr(outputs, targets))
    return gained


def _enlarged(inputs: Tensor, scale: int) -> Tensor:
    return nn.functional.interpolate(inputs, scale_factor=scale, mode="bicubic") if scale > 1 else inputs


def _psnr(outputs: Tensor, targets: Tensor) -> float:
    error = ((outputs.clamp(0, 1) - targets) ** 2).mean((1, 2, 3))
    return round(float((-10 * error.clamp(min=1e-5).log10()).mean()), 3)
