"""Training of the perceptrons of toolbox/classical on small degraded photos, with a loss on pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imaging.convert import FloatArray
from training.data.photos import held_out, photos, read_pixels

HIDDEN = 96
Restore = Callable[[nn.Module, Sequence[Tensor]], Tensor]
"""(network, all but the last tensor of a batch) -> restored pixels (n, pixels, channels)."""


def fit(
    samples: Sequence[Tensor],
    outputs: int,
    restore: Restore,
    steps: int,
    batch: int,
    seed: int,
    dropped: float = 0.0,
    hidden: int = HIDDEN,
) -> nn.Module:
    """Train by AdamW on the mean over images of the root mean square error.

    `samples`: features (n, ..., k) first, targets (n, pixels, channels) last. `dropped`: probability of dropout. The
    last layer is initialised with zeros.
    """
    torch.manual_seed(seed)
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    first = nn.Linear(samples[0].shape[-1], hidden)
    between = (nn.ReLU(), nn.Dropout(dropped), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropped))
    network = nn.Sequential(first, *between, last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rows = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(samples[0]), (batch,), generator=rows)
        part = [tensor[chosen] for tensor in samples]
        errors = ((restore(network, part[:-1]) - part[-1]) ** 2).mean((1, 2))
        optimiser.zero_grad()
        torch.autograd.backward(errors.add(1e-5).sqrt().mean())
        optimiser.step()
        schedule.step()
    return network.eval()


def joined(networks: Sequence[nn.Module]) -> nn.Module:
    """One network that returns the concatenated outputs of several networks with the same input."""
    several = [[layer for layer in network.modules() if isinstance(layer, nn.Linear)] for network in networks]
    layers = list[nn.Module]()
    for place, same in enumerate(zip(*several, strict=True)):
        weights = [layer.weight.detach() for layer in same]
        weight = torch.block_diag(*weights) if place else torch.cat(weights)  # type: ignore[no-untyped-call]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(torch.cat([one.bias.detach() for one in same]))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def gain(network: nn.Module, samples: Sequence[Tensor], degraded: Tensor, restore: Restore) -> tuple[float, float]:
    """Mean PSNR in dB before and after, of images that begin below 40 dB."""
    with torch.inference_mode():
        restored = restore(network, samples[:-1])
    before, after = (
        -10 * ((part - samples[-1]) ** 2).mean((1, 2)).clamp(min=1e-6).log10() for part in (degraded, restored)
    )
    worse = before < 40
    return float(before[worse].mean()), float(after[worse].mean())


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """The weights of its linear layers by number, in half precision."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    weights = {f"{index}.weight": layer.weight.half().contiguous() for index, layer in enumerate(layers)}
    return weights | {f"{index}.bias": layer.bias.half().contiguous() for index, layer in enumerate(layers)}


def save(network: nn.Module, file: Path) -> None:
    """Write the file that `toolbox.classical.perceptron` reads."""
    save_file(state_of(network), file)


def small_photos(data: Path, side: int) -> tuple[list[FloatArray], list[FloatArray]]:
    """Training photos and held-out ones, (H, W, 3), reduced to a long side of at most `side`."""
    paths = photos(data)
    learned, measured = (
        [small(read_pixels(path), side) for path in paths if held_out(path) is is_out] for is_out in (False, True)
    )
    return learned, measured


def patch(pictures: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
    """A random image, or a random crop with at least half of its height and width."""
    photo = pictures[int(rng.integers(len(pictures)))]
    share = rng.uniform(0.5, 1.0, 2) if rng.random() < 0.7 else (1.0, 1.0)
    height, width = (max(32, int(side * part)) for side, part in zip(photo.shape[:2], share, strict=True))
    top = int(rng.integers(max(1, photo.shape[0] - height + 1)))
    left = int(rng.integers(max(1, photo.shape[1] - width + 1)))
    return np.ascontiguousarray(photo[top : top + height, left : left + width])


def small(pixels: FloatArray, side: int) -> FloatArray:
    """Reduced to a long side of at most `side`."""
    scale = min(1.0, side / max(pixels.shape[:2]))
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)
