"""Trains the networks of iqa/degradation_net.py: pictures kept as bytes in one array, AdamW, cosine, averaged
weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from imaging.device import bfloat16_where_fast
from imaging.image import Image
from iqa.degradation_net import DegradationNet, signed_log
from iqa.handcrafted.inputs import measurement_inputs
from iqa.handcrafted.measure import measure_handcrafted
from iqa.patches import COUNT, extract_patches

Looks = NDArray[np.uint8]
"""(n, 10, 3, 96, 96): nine patches and the small whole of every picture."""
Rows = NDArray[np.float32]
KEEP = 0.998
BEGINNING, GOING_ON = 2e-3, 5e-4
"""Learning rates."""
AT_ONCE = 24
"""Pictures whose features are computed together."""


def look(image: Image) -> tuple[Looks, dict[str, float]]:
    """(10, 3, 96, 96) of one picture, and its handcrafted features."""
    patches = extract_patches(image)
    pixels = torch.cat([patches.near, patches.whole[None]])
    return np.asarray((pixels * 255).round().byte()), measure_handcrafted(measurement_inputs(image))


def rows_of(handcrafted: Sequence[dict[str, float]]) -> tuple[Rows, tuple[str, ...]]:
    """One row of `signed_log` handcrafted features per picture, and the names of its columns."""
    names = tuple(handcrafted[0])
    return np.array([signed_log(one, names) for one in handcrafted], np.float32), names


def fresh(channels: int, rows: Rows, outputs: int, seed: int) -> DegradationNet:
    """A network that knows how its handcrafted features are spread."""
    torch.manual_seed(seed)
    network = DegradationNet(channels, rows.shape[1], outputs)
    network.centre.copy_(torch.from_numpy(rows.mean(0)))
    network.spread.copy_(torch.from_numpy(rows.std(0) + 1e-3))
    return network


def go_on_from(network: DegradationNet, file: Path) -> None:
    """Take over the weights that `save` has written for a network of the same kind."""
    network.load_state_dict({name: value.float() for name, value in load_file(file).items()})


def grown_from(file: Path, rows: Rows) -> DegradationNet:
    """The network in a file, which takes the columns of `rows` from now on; those that are new come last.

    Handcrafted features that it does not know yet counts nothing.
    """
    state = {name: value.float() for name, value in load_file(file).items()}
    known = len(state["centre"])
    network = fresh(state["near.0.weight"].shape[1], rows, len(state["say.4.bias"]) // 2, 0)
    for name, value in (("centre", network.centre), ("spread", network.spread)):
        state[name] = torch.cat([state[name], value[known:]])
    first_layer = state["say.0.weight"]
    state["say.0.weight"] = functional.pad(first_layer, (0, rows.shape[1] - known))
    network.load_state_dict(state)
    return network


@torch.inference_mode()
def features_by(network: DegradationNet, looks: Looks) -> tuple[Tensor, Tensor]:
    """What the convolutions see: of the patches (n, 9, f), of the whole (n, f), in half precision."""
    details, scenes = list[Tensor](), list[Tensor]()
    network.to(memory_format=torch.channels_last)
    for start in range(0, len(looks), AT_ONCE):
        near, whole = as_input(looks[start : start + AT_ONCE], False, COUNT, np.random.default_rng(0))
        with bfloat16_where_fast(torch.device("cpu")):
            details.append(network.details(near).half())
            scenes.append(network.scene(whole).half())
    return torch.cat(details), torch.cat(scenes)


def with_dropout(say: nn.Sequential, share: float) -> nn.Sequential:
    """The same layers, some of whose hidden units are left out at each step of training."""
    first, *others = say
    dropped = [nn.Sequential(nn.Dropout(share), each) if isinstance(each, nn.Linear) else each for each in others]
    return nn.Sequential(first, *dropped)


def train(
    network: DegradationNet,
    loss_of: Callable[[DegradationNet], Tensor],
    minutes: float,
    learning_rate: float = BEGINNING,
) -> DegradationNet:
    """The averaged weights after that many minutes of steps; every call of `loss_of` takes a batch of its own."""
    began = time.monotonic()
    return _train(network, loss_of, lambda _: (time.monotonic() - began) / (60 * minutes), learning_rate)


def train_steps(
    network: DegradationNet, loss_of: Callable[[DegradationNet], Tensor], steps: int, learning_rate: float
) -> DegradationNet:
    """The same after that many steps."""
    return _train(network, loss_of, lambda step: step / steps, learning_rate)


def _train(
    network: DegradationNet,
    loss_of: Callable[[DegradationNet], Tensor],
    progress_at: Callable[[int], float],
    learning_rate: float,
) -> DegradationNet:
    network.train().to(memory_format=torch.channels_last)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=learning_rate, weight_decay=1e-2)
    losses, step = list[float](), 0
    while (progress := progress_at(step)) < 1:
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


def save(network: DegradationNet, names: Mapping[str, Sequence[object]], file: Path) -> None:
    """As `iqa.degradation_net.load_degradation_net` reads it: weights in fp16; `names` of handcrafted features and
    outputs, and their thresholds.
    """
    state = {
        name: (value if name in ("centre", "spread") else value.half()).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(state, file, metadata={"names": json.dumps({key: list(value) for key, value in names.items()})})


def as_input(looks: Looks, flip: bool, patches: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Some patches (b, patches, 3, 96, 96) and the whole (b, 3, 96, 96) in [0, 1], mirrored together or not."""
    chosen = rng.permutation(COUNT)[:patches] if patches < COUNT else np.arange(COUNT)
    near = torch.from_numpy(looks[:, chosen]).float() / 255
    whole = torch.from_numpy(looks[:, COUNT]).float() / 255
    return (near.flip(-1), whole.flip(-1)) if flip else (near, whole)
