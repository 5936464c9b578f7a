"""The blur kernel of a moving camera, seen by a small network; where it lies says how far the picture has moved too.

A straight or bent kernel that is not symmetric leaves its direction in every edge, and one that fades away from the
pixel itself, as MiO100's does, moves the picture: with the kernel in its true place, deconvolution moves it back.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from imaging.convert import FloatArray
from toolbox.classical.filters import luma
from toolbox.errors import WeightsMissing

WEIGHTS = Path(__file__).with_name("kernel.safetensors")
PATCH = 128
"""Pixels of the side of what is looked at."""
REACH = 23
SIDE = 2 * REACH + 1
WIDTHS = (32, 48, 64, 96, 128)
PATCHES = 6
FAINT = 0.03
"""Part of the kernel's peak below which it is taken for nothing."""


class KernelNetwork(nn.Module):
    """Patches of luma to the logarithm of a kernel, up to a constant."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in WIDTHS:
            layers += [nn.Conv2d(before, width, 3, stride=1 if before == 1 else 2, padding=1), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
            before = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(2 * before, 256), nn.ReLU(inplace=True), nn.Linear(256, SIDE * SIDE))

    def forward(self, patches: Tensor) -> Tensor:
        """(b, 47 * 47) from standardised patches (b, 1, 128, 128)."""
        features = self.body(patches).flatten(2).float()
        logits: Tensor = self.head(torch.cat([features.mean(2), features.amax(2)], 1))
        return logits


def standardised(plane: FloatArray) -> FloatArray:
    """A patch of luma without its level and contrast."""
    return np.asarray((plane - plane.mean()) / (plane.std() + 0.02), np.float32)


def seen_kernel(pixels: FloatArray) -> FloatArray:
    """The kernel (47, 47), sum 1, of a blurred picture (H, W, 3): the mean of what its liveliest patches say."""
    plane = luma(pixels)
    patches = [standardised(patch) for patch in _patches(plane)]
    with torch.inference_mode():
        logits = load_kernel_network()(torch.from_numpy(np.stack(patches)[:, None]))
        kernel = torch.softmax(logits.mean(0), 0).reshape(SIDE, SIDE).numpy()
    kernel = np.where(kernel < FAINT * kernel.max(), 0, kernel)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _patches(plane: FloatArray) -> list[FloatArray]:
    """At most six squares of 128 pixels with the most contrast in fine detail, none of them overlapping."""
    below, right = (max(0, PATCH - size) for size in plane.shape)
    plane = np.pad(plane, ((0, below), (0, right)), mode="symmetric") if below or right else plane
    tops, lefts = (range(0, size - PATCH + 1, PATCH) for size in plane.shape)
    squares = [plane[top : top + PATCH, left : left + PATCH] for top in tops for left in lefts]
    return sorted(squares, key=lambda square: -float(np.abs(np.diff(square, axis=1)).mean()))[:PATCHES]


@cache
def load_kernel_network() -> KernelNetwork:
    """The shipped one. Raises `WeightsMissing`."""
    from safetensors.torch import load_file

    if not WEIGHTS.is_file():
        raise WeightsMissing(f"{WEIGHTS} is missing", "install restore4k again")
    network = KernelNetwork().eval().requires_grad_(False)
    network.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return network
