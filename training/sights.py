"""Trains the networks of iqa/sight.py: pictures kept as bytes in one array, AdamW, cosine, averaged weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from imaging.image import Image
from iqa.evidence.measure import measure_evidence
from iqa.evidence.view import view_of
from iqa.pieces import COUNT, pieces_of
from iqa.sight import Sight, compressed

Looks = NDArray[np.uint8]
"""(n, 10, 3, 96, 96): nine pieces and the small whole of every picture."""
Rows = NDArray[np.float32]
KEEP = 0.998
BEGINNING, GOING_ON = 2e-3, 5e-4
"""Learning rates."""


def look(image: Image) -> tuple[Looks, dict[str, float]]:
    """(10, 3, 96, 96) of one picture, and its evidence."""
    pieces = pieces_of(image)
    pixels = torch.cat([pieces.near, pieces.whole[None]])
    return np.asarray((pixels * 255).round().byte()), measure_evidence(view_of(image))


def rows_of(evidence: Sequence[dict[str, float]]) -> tuple[Rows, tuple[str, ...]]:
    """One row of `compressed` evidence per picture, and the names of its columns."""
    names = tuple(evidence[0])
    return np.array([compressed(one, names) for one in evidence], np.float32), names


def fresh(channels: int, rows: Rows, outputs: int, seed: int) -> Sight:
    """A network that knows how its evidence is spread."""
    torch.manual_seed(seed)
    network = Sight(channels, rows.shape[1], outputs)
    network.centre.copy_(torch.from_numpy(rows.mean(0)))
    network.spread.copy_(torch.from_numpy(rows.std(0) + 1e-3))
    return network


def go_on_from(network: Sight, file: Path) -> None:
    """Take over the weights that `save` has written for a network of the same kind."""
    network.load_state_dict({name: value.float() for name, value in load_file(file).items()})


def train(
    network: Sight, loss_of: Callable[[Sight], Tensor], minutes: float, learning_rate: float = BEGINNING
) -> Sight:
    """The averaged weights after that many minutes of steps; every call of `loss_of` takes a batch of its own."""
    network.train().to(memory_format=torch.channels_last)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-2)
    began, losses, step = time.monotonic(), list[float](), 0
    while (progress := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 100) * max(0.01, 0.5 * (1 + np.cos(np.pi * progress)))
        loss = loss_of(network)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        for name, value in network.state_dict().items():
            average[name].lerp_(value.detach(), 1 - min(KEEP, (1 + step) / (10 + step)))
        losses.append(float(loss.detach()))
        step += 1
        if step % 200 == 0:
            print(f"{step} steps, {100 * progress:.0f} %: loss {np.mean(losses[-200:]):.4f}", flush=True)
    network.load_state_dict(average)
    return network.eval()


def save(network: Sight, names: Mapping[str, Sequence[object]], file: Path) -> None:
    """As `iqa.sight.load_sight` reads it: weights in fp16; `names` of evidence and outputs, and their thresholds."""
    state = {
        name: (value if name in ("centre", "spread") else value.half()).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(state, file, metadata={"names": json.dumps({key: list(value) for key, value in names.items()})})


def as_input(looks: Looks, flip: bool, pieces: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Some of the pieces (b, pieces, 3, 96, 96) and the whole (b, 3, 96, 96) in [0, 1], mirrored together or not."""
    chosen = rng.permutation(COUNT)[:pieces] if pieces < COUNT else np.arange(COUNT)
    near = torch.from_numpy(looks[:, chosen]).float() / 255
    whole = torch.from_numpy(looks[:, COUNT]).float() / 255
    return (near.flip(-1), whole.flip(-1)) if flip else (near, whole)
