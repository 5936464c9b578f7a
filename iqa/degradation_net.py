"""The network of the degradation estimator and of the quality score.

One stack of convolutions encodes nine patches at full resolution, another one the downscaled image. Mean, standard
deviation and maximum of their last feature maps, concatenated with the handcrafted features, go through a perceptron
for every patch; the outputs of the patches are averaged with weights that the perceptron predicts too (attention
pooling). 0.3 million parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from iqa.handcrafted.measure import current_names
from iqa.parameters import read_tensors, reading
from iqa.patches import Patches
from toolbox.pool import ModelPool

WIDTHS = (24, 32, 48, 64)
HIDDEN = 128
REACH = 4.0
"""Standard deviations to which handcrafted features are clipped."""
ESTIMATOR = "degradations.safetensors"
"""The weights of the degradation estimator (`python -m training.fits.degradation_net`)."""


class DegradationNet(nn.Module):
    """Predicts `outputs` numbers for an image, and the same numbers for each of its patches."""

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
        """The same as `forward`, from the outputs of `details` and `scene`."""
        context = torch.cat([scene, self.standardised(handcrafted)], 1)[:, None].expand(-1, details.shape[1], -1)
        logits, weight = self.say(torch.cat([details, context], 2)).chunk(2, 2)
        return (logits * weight.softmax(1)).sum(1), logits

    def describe(self, details: Tensor, scene: Tensor, handcrafted: Tensor) -> Tensor:
        """(b, f): the input of the perceptron, averaged over the patches: scene, details, handcrafted features."""
        return torch.cat([scene, details.mean(1), self.standardised(handcrafted)], 1)

    def details(self, near: Tensor) -> Tensor:
        """(b, n, 192): pooled convolutional features of each patch."""
        return _pooled(self.near(near.flatten(0, 1) - 0.5)).reshape(*near.shape[:2], -1)

    def scene(self, whole: Tensor) -> Tensor:
        """(b, 192): pooled convolutional features of the downscaled image."""
        return _pooled(self.far(whole - 0.5))

    def standardised(self, handcrafted: Tensor) -> Tensor:
        """(b, k): handcrafted features, standardised by mean and deviation of the training pictures."""
        return ((handcrafted - self.centre) / self.spread).clamp(-REACH, REACH)


def signed_log(handcrafted: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """sign(x) log(1 + |x|) of the named handcrafted features, many of which have heavy tails."""
    values = torch.tensor([handcrafted[name] for name in names], dtype=torch.float64)
    return (values.sign() * values.abs().log1p()).tolist()


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network with the metadata of its file."""

    network: DegradationNet
    handcrafted: tuple[str, ...]
    """Names of the handcrafted features that it takes."""
    outputs: tuple[str, ...]
    """Names of its outputs."""
    least: tuple[float, ...]
    """Probability threshold of each output."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of its parameters, for the budget of a pool."""
        return sum(parameter.nbytes for parameter in self.network.parameters())


@dataclass(frozen=True, slots=True, eq=False)
class NetworkOutput:
    """The outputs of the estimator's network for one image, and the features that they are computed from."""

    whole: Tensor
    """(kinds, levels): logits that each degradation reaches each level."""
    local: Tensor
    """(patches, kinds, levels): the same for every patch."""
    description: Tensor
    """(f,): see `DegradationNet.describe`."""
    handcrafted: Tensor
    """(k,): the handcrafted features, standardised."""


def degradation_net(models: ModelPool | None, file: str = ESTIMATOR, channels: int = 3) -> LoadedNetwork:
    """The network of iqa/`file`, held in `models` (`default_models` if None). Raises `BadParameters`."""
    return (models or default_models()).hold(f"iqa/{file}", partial(_load, file, channels))


@cache
def default_models() -> ModelPool:
    """The pool for callers that have none, such as training and benchmarks."""
    return ModelPool()


def network_output(loaded: LoadedNetwork, handcrafted: Mapping[str, float], patches: Patches) -> NetworkOutput:
    """Run the estimator's network on one image."""
    network = loaded.network
    with torch.inference_mode():
        row = torch.tensor([signed_log(handcrafted, loaded.handcrafted)])
        details, scene = network.details(patches.near[None]), network.scene(patches.whole[None])
        whole, local = network.answer(details, scene, row)
        kinds = len(loaded.outputs)
        return NetworkOutput(
            whole.reshape(kinds, -1),
            local.reshape(local.shape[1], kinds, -1),
            network.describe(details, scene, row)[0],
            network.standardised(row)[0],
        )


def _load(file: str, channels: int) -> LoadedNetwork:
    """Load iqa/`file`, as `training.fits.net_trainer.save` writes it. Raises `BadParameters`."""
    with reading(file):
        state, names = read_tensors(file)
        answers = state["say.4.bias"].numel() // 2
        network = DegradationNet(channels, state["centre"].numel(), answers).eval().requires_grad_(False)
        network.load_state_dict(state)
    return LoadedNetwork(
        network,
        current_names(names["handcrafted"] if "handcrafted" in names else names["evidence"]),
        tuple(names["outputs"]),
        tuple(map(float, names["least"])),
    )


def _stack(channels: int) -> nn.Sequential:
    """Convolutions at full size and after each of three strided ones, which halve it."""
    layers: list[nn.Module] = [nn.Conv2d(channels, WIDTHS[0], 3, padding=1), nn.ReLU(inplace=True)]
    for before, after in pairwise(WIDTHS):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _pooled(features: Tensor) -> Tensor:
    """Mean, standard deviation and maximum over space: (b, c, h, w) to (b, 3 c)."""
    flat = features.flatten(2).float()
    return torch.cat([flat.mean(2), flat.var(2, correction=0).add(1e-6).sqrt(), flat.amax(2)], 1)
