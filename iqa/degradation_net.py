"""The network behind the estimator and the quality score: it looks at patches, at the whole, and at handcrafted
features.

Plain convolutions in two stacks, one for the patches at full resolution and one for the small whole; mean, deviation
and maximum of their last features, with the handcrafted features beside them, go through a perceptron for every
patch, and what the patches say is averaged with weights of the network's own. 0.3 million parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise

import torch
from torch import Tensor, nn

from iqa.errors import BadParameters
from iqa.handcrafted.measure import current_names

WIDTHS = (24, 32, 48, 64)
HIDDEN = 128
REACH = 4.0
"""Deviations beyond which handcrafted features count no more."""


class DegradationNet(nn.Module):
    """Looks at a picture and answers `outputs` numbers, and the same for every patch of it."""

    centre: Tensor
    spread: Tensor

    def __init__(self, channels: int, handcrafted: int, outputs: int) -> None:
        super().__init__()
        self.near = _stack(channels)
        self.far = _stack(channels)
        self.register_buffer("centre", torch.zeros(handcrafted))
        self.register_buffer("spread", torch.ones(handcrafted))
        width = 2 * 3 * WIDTHS[-1] + handcrafted
        self.say = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * outputs)
        )

    def forward(self, near: Tensor, whole: Tensor, handcrafted: Tensor) -> tuple[Tensor, Tensor]:
        """(b, outputs) and (b, n, outputs) from near (b, n, c, 96, 96), whole (b, c, 96, 96), handcrafted features
        (b, e).

        Pixels lie in [0, 1], or in [-1, 1] for differences; handcrafted features are as `signed_log` gives them.
        """
        return self.answer(self.details(near), self.scene(whole), handcrafted)

    def answer(self, details: Tensor, scene: Tensor, handcrafted: Tensor) -> tuple[Tensor, Tensor]:
        """The same from what `details` and `scene` give."""
        context = torch.cat([scene, self._standard(handcrafted)], 1)[:, None].expand(-1, details.shape[1], -1)
        logits, weight = self.say(torch.cat([details, context], 2)).chunk(2, 2)
        return (logits * weight.softmax(1)).sum(1), logits

    def describe(self, details: Tensor, scene: Tensor, handcrafted: Tensor) -> Tensor:
        """(b, f): the features that the answers are made of: scene, mean of the patches, handcrafted."""
        return torch.cat([scene, details.mean(1), self._standard(handcrafted)], 1)

    def details(self, near: Tensor) -> Tensor:
        """(b, n, 192): what the convolutions see of each patch."""
        return _pooled(self.near(near.flatten(0, 1) - 0.5)).reshape(*near.shape[:2], -1)

    def scene(self, whole: Tensor) -> Tensor:
        """(b, 192): what they see of the whole."""
        return _pooled(self.far(whole - 0.5))

    def _standard(self, handcrafted: Tensor) -> Tensor:
        return ((handcrafted - self.centre) / self.spread).clamp(-REACH, REACH)


def signed_log(handcrafted: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """The handcrafted features as a network takes them: sign and logarithm, since many have heavy tails."""
    values = torch.tensor([handcrafted[name] for name in names], dtype=torch.float64)
    return (values.sign() * values.abs().log1p()).tolist()


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network with what its file says of it."""

    network: DegradationNet
    handcrafted: tuple[str, ...]
    """The names of what it takes beside the pixels."""
    outputs: tuple[str, ...]
    least: tuple[float, ...]
    """Of each output, the chance from which it counts as so."""


@cache
def load_degradation_net(file: str, channels: int) -> LoadedNetwork:
    """Load iqa/`file`, as `training.fits.net_trainer.save` writes it. Raises `BadParameters`."""
    from safetensors import safe_open

    try:
        with (
            resources.as_file(resources.files("iqa") / file) as path,
            safe_open(path, framework="pt") as stored,
        ):
            names = json.loads((stored.metadata() or {})["names"])
            state = {key: stored.get_tensor(key).float() for key in stored.keys()}  # noqa: SIM118
        answers = state["say.4.bias"].numel() // 2
        network = DegradationNet(channels, state["centre"].numel(), answers).eval().requires_grad_(False)
        network.load_state_dict(state)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadParameters(f"iqa/{file} is not usable: {error!r}", "install restore4k again") from error
    return LoadedNetwork(
        network,
        current_names(names["handcrafted"] if "handcrafted" in names else names["evidence"]),
        tuple(names["outputs"]),
        tuple(map(float, names["least"])),
    )


def _stack(channels: int) -> nn.Sequential:
    """Three halvings; a convolution at each size."""
    layers: list[nn.Module] = [nn.Conv2d(channels, WIDTHS[0], 3, padding=1), nn.ReLU(inplace=True)]
    for before, after in pairwise(WIDTHS):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _pooled(features: Tensor) -> Tensor:
    """(b, 3 c) of (b, c, h, w): mean, deviation and maximum."""
    flat = features.flatten(2).float()
    return torch.cat([flat.mean(2), flat.var(2, correction=0).add(1e-6).sqrt(), flat.amax(2)], 1)
