"""What a network gains on pictures that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from training.data import Bytes, central_patch, stack
from training.pairs import kinds

SIDE = 128
TOGETHER = 8


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean PSNR (RGB, in dB) of the degraded and of the restored patches, against the clean ones."""

    input_db: float
    output_db: float


def held_out_gains(
    network: Callable[[Tensor], Tensor], held_out: list[Bytes], degrade: str, scale: int
) -> dict[str, Gain]:
    """One row per kind of degradation in a recipe's `degrade`; the same patches and random numbers every time.

    `network` maps (B, 3, h, w) to (B, 3, h * scale, w * scale). A smaller input counts as enlarged bicubically.
    """
    patches = [central_patch(photo, SIDE) for photo in held_out]
    gains = {}
    for row, (kind, make) in enumerate(kinds(degrade, scale).items()):
        pairs = [make(patch, np.random.default_rng([row, index])) for index, patch in enumerate(patches)]
        inputs, targets = stack([pair[0] for pair in pairs]), stack([pair[1] for pair in pairs])
        with torch.inference_mode():
            outputs = torch.cat([network(part).cpu() for part in torch.split(inputs, TOGETHER)])
        gains[kind] = Gain(_psnr(_enlarged(inputs, scale), targets), _psnr(outputs, targets))
    return gains


def _enlarged(inputs: Tensor, scale: int) -> Tensor:
    return nn.functional.interpolate(inputs, scale_factor=scale, mode="bicubic") if scale > 1 else inputs


def _psnr(outputs: Tensor, targets: Tensor) -> float:
    error = ((outputs.clamp(0, 1) - targets) ** 2).mean((1, 2, 3))
    return round(float((-10 * error.clamp(min=1e-5).log10()).mean()), 3)
