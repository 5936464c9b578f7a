"""The architectures of recipes: their construction, initialisation and forward pass."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from imaging.device import bfloat16_where_fast
from toolbox.ncnn_weights import read_ncnn, unfolded_convolution
from training.recipe import Recipe

NETWORKS = {
    "Compact": "spandrel.architectures.Compact.__arch.SRVGG:SRVGGNetCompact",
    "DRUNet": "spandrel.architectures.DRUNet.__arch.network_unet:DRUNet",
    "SPAN": "spandrel.architectures.SPAN.__arch.span:SPAN",
    "NAFNet": "spandrel.architectures.NAFNet.__arch.NAFNet_arch:NAFNet",
    "ESRGAN": "spandrel.architectures.ESRGAN.__arch.RRDB:RRDBNet",
}
"""The classes that spandrel loads, so that trained weights fit."""


def build(recipe: Recipe) -> nn.Module:
    """A network with default initialisation."""
    module, name = NETWORKS[recipe.architecture].split(":")
    network: nn.Module = getattr(importlib.import_module(module), name)(**recipe.network)
    return with_plain_convolutions(network)


def with_plain_convolutions(network: nn.Module) -> nn.Module:
    """The network with every Conv3XC replaced by the convolution into which SPAN folds it.

    A step of the folded network takes a fifth of the time.
    """
    for name, child in network.named_children():
        folded = getattr(child, "eval_conv", None)
        if folded is None:
            with_plain_convolutions(child)
        else:
            setattr(network, name, nn.Conv2d(folded.in_channels, folded.out_channels, 3, padding=1))
    return network


def plain_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """spandrel's weights converted to `with_plain_convolutions`; unchanged for networks other than SPAN."""
    folded = tuple(f"{name.removesuffix('eval_conv.weight')}" for name in state if name.endswith("eval_conv.weight"))
    return {
        name.replace(".eval_conv", ""): value
        for name, value in state.items()
        if ".eval_conv." in name or not (folded and name.startswith(folded))
    }


def published_state(state: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """The weights as spandrel loads them: the reverse of `plain_state`."""
    if architecture != "SPAN":
        return dict(state)
    plain = ("conv_cat.", "upsampler.", "no_norm")
    result = {name: value for name, value in state.items() if name.startswith(plain)}
    for name in {name.rsplit(".", 1)[0] for name in state.keys() - result.keys()}:
        result |= unfolded_convolution(name, state[f"{name}.weight"], state[f"{name}.bias"])
    return result


def begin(recipe: Recipe, weights: Path | None) -> nn.Module:
    """The initial network: with the weights of a file, or initialised near the identity."""
    network = build(recipe)
    if recipe.architecture == "DRUNet":
        _initialise_drunet(network)
    elif recipe.architecture == "Compact":
        _initialise_compact(network)
    if weights:
        _load_matching(network, weights)
    return network


def _load_matching(network: nn.Module, file: Path) -> None:
    """Load every tensor whose shape matches: all, or all but the last layer for another scale."""
    own = network.state_dict()
    state = read_ncnn(file) if file.suffix == ".param" else load_file(file)
    found = plain_state({name: value.float() for name, value in state.items()})
    fitting = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise ValueError(f"{file} has no tensor that fits the network of the recipe; choose another `init`")
    network.load_state_dict({**own, **fitting})


def forward(network: nn.Module, recipe: Recipe, inputs: Tensor) -> Tensor:
    """Run a network as spandrel does: a DRUNet gets the constant noise map that its descriptor adds."""
    if recipe.architecture == "DRUNet":
        noise = inputs.new_full((inputs.shape[0], 1, *inputs.shape[2:]), 15 / 255)
        inputs = torch.cat([inputs, noise], dim=1)
    with bfloat16_where_fast(inputs.device):
        output: Tensor = network(inputs)
    return output.float()


@torch.no_grad()
def _initialise_drunet(network: Any) -> None:
    """Make the outermost skip connection of a DRUNet copy the input to the output."""
    head, tail = network.m_head.weight, network.m_tail.weight
    network.m_up1[0].weight *= 0.1
    tail *= 0.1
    for channel in range(3):
        head[channel] = 0
        head[channel, channel, 1, 1] = 1
        tail[channel, channel] = 0
        tail[channel, channel, 1, 1] = 1


@torch.no_grad()
def _initialise_compact(network: Any) -> None:
    """Initialise every convolution near the identity (DiracNets, 2017).

    Measured after 250 steps of a network of 64 features and 16 layers: 25.9 dB on held-out photos, 24.4 dB with the
    default initialisation, 25.4 dB with bicubic interpolation.
    """
    convolutions = [layer for layer in network.body if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for layer in convolutions[:-1]:
        nn.init.kaiming_normal_(layer.weight, a=0.25)
    for layer in convolutions[1:-1]:
        layer.weight *= 0.1
        layer.weight += nn.init.dirac_(torch.empty_like(layer.weight))
    convolutions[-1].weight *= 0.1
