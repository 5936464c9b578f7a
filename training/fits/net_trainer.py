"""Training of the networks of iqa/degradation_net.py: AdamW, a cosine schedule, averaged weights."""

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
from training.optimisation import averaged_model, cosine_schedule

Looks = NDArray[np.uint8]
"""(n, 10, 3, 96, 96): nine patches and the downscaled whole of every image."""
Rows = NDArray[np.float32]
DECAY = 0.998
"""Decay of the averaged weights."""
WARM_UP = 100
"""Steps of linear warm-up of the learning rate."""
BEGINNING, GOING_ON = 2e-3, 5e-4
"""Learning rates of fresh weights, and of trained ones."""
AT_ONCE = 24
"""Images whose features are computed together."""


def look(image: Image) -> tuple[Looks, dict[str, float]]:
    """(10, 3, 96, 96) patches of one image, and its handcrafted features."""
    patches = extract_patches(image)
    pixels = torch.cat([patches.near, patches.whole[None]])
    return np.asarray((pixels * 255).round().byte()), measure_handcrafted(measurement_inputs(image))


def rows_of(handcrafted: Sequence[dict[str, float]]) -> tuple[Rows, tuple[str, ...]]:
    """One row of `signed_log` handcrafted features per picture, and the names of its columns."""
    names = tuple(handcrafted[0])
    return np.array([signed_log(one, names) for one in handcrafted], np.float32), names


def fresh(channels: int, rows: Rows, outputs: int, seed: int) -> DegradationNet:
    """A network with random weights, and with the mean and deviation of its handcrafted features."""
    torch.manual_seed(seed)
    network = DegradationNet(channels, rows.shape[1], outputs)
    network.centre.copy_(torch.from_numpy(rows.mean(0)))
    network.spread.copy_(torch.from_numpy(rows.std(0) + 1e-3))
    return network


def go_on_from(network: DegradationNet, file: Path) -> None:
    """Load the weights that `save` has written for a network of the same shape."""
    network.load_state_dict({name: value.float() for name, value in load_file(file).items()})


def grown_from(file: Path, rows: Rows) -> DegradationNet:
    """The network in a file, extended to the columns of `rows`, of which the new ones come last.

    The weights of the new handcrafted features are zero.
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
    """Convolutional features of the patches (n, 9, f) and of the whole (n, f), in half precision."""
    details, scenes = list[Tensor](), list[Tensor]()
    network.to(memory_format=torch.channels_last)
    for start in range(0, len(looks), AT_ONCE):
        near, whole = as_input(looks[start : start + AT_ONCE], False, COUNT, np.random.default_rng(0))
        with bfloat16_where_fast(torch.device("cpu")):
            details.append(network.details(near).half())
            scenes.append(network.scene(whole).half())
    return torch.cat(details), torch.cat(scenes)


def with_dropout(say: nn.Sequential, share: float) -> nn.Sequential:
    """The same layers with dropout after every linear layer but the first."""
    first, *others = say
    dropped = [nn.Sequential(nn.Dropout(share), each) if isinstance(each, nn.Linear) else each for each in others]
    return nn.Sequential(first, *dropped)


def train(
    network: DegradationNet,
    loss_of: Callable[[DegradationNet], Tensor],
    minutes: float,
    learning_rate: float = BEGINNING,
) -> DegradationNet:
    """Train for that many minutes and return the network with averaged weights; `loss_of` draws its own batch."""
    began = time.monotonic()
    return _train(network, loss_of, lambda _: (time.monotonic() - began) / (60 * minutes), learning_rate)


def train_steps(
    network: DegradationNet, loss_of: Callable[[DegradationNet], Tensor], steps: int, learning_rate: float
) -> DegradationNet:
    """The same for that many steps."""
    return _train(network, loss_of, lambda step: step / steps, learning_rate)


def _train(
    network: DegradationNet,
    loss_of: Callable[[DegradationNet], Tensor],
    progress_at: Callable[[int], float],
    learning_rate: float,
) -> DegradationNet:
    network.train().to(memory_format=torch.channels_last)
    average = averaged_model(network, DECAY)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=learning_rate, weight_decay=1e-2)
    schedule = cosine_schedule(optimiser, learning_rate, WARM_UP, progress_at)
    losses, step = list[float](), 0
    while (progress := progress_at(step)) < 1:
        loss = loss_of(network)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
        losses.append(float(loss.detach()))
        step += 1
        if step % 200 == 0:
            print(f"{step} steps, {100 * progress:.0f} %: loss {np.mean(losses[-200:]):.4f}", flush=True)
    network.load_state_dict(average.module.state_dict())
    return network.eval()


def save(network: DegradationNet, names: Mapping[str, Sequence[object]], file: Path) -> None:
    """Write the file that `iqa.degradation_net` reads: weights in fp16, and in its metadata the `names` of
    handcrafted features and outputs, and their thresholds.
    """
    state = {
        name: (value if name in ("centre", "spread") else value.half()).contiguous()
        for name, value in network.state_dict().items()
    }
    save_file(state, file, metadata={"names": json.dumps({key: list(value) for key, value in names.items()})})


def as_input(looks: Looks, flip: bool, patches: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """`patches` random patches (b, patches, 3, 96, 96) and the whole (b, 3, 96, 96) in [0, 1], flipped or not."""
    chosen = rng.permutation(COUNT)[:patches] if patches < COUNT else np.arange(COUNT)
    near = torch.from_numpy(looks[:, chosen]).float() / 255
    whole = torch.from_numpy(looks[:, COUNT]).float() / 255
    return (near.flip(-1), whole.flip(-1)) if flip else (near, whole)
