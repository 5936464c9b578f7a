"""LoRA weights (Hu et al. 2021, arXiv 2106.09685) in the format of the library peft.

They are merged into the weights of the network, which then runs as fast as before and does not need peft.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolbox.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

ALPHA = 8
"""peft's default of alpha; the published files do not state another value."""
LORA_KEY = re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])\.(?P<adapter>[^.]+)\.weight")


def adapters(state: Mapping[str, Tensor]) -> frozenset[str]:
    """The names of the adapters in `state`."""
    return frozenset(found["adapter"] for name in state if (found := LORA_KEY.fullmatch(name)))


def add_lora(network: Module, state: Mapping[str, Tensor], source: str) -> None:
    """Merge all adapters of `state` into the weights of `network`: W + ALPHA / rank * B A.

    Other weights in `state` replace those of the network. Raises `WeightsError`, which names `source`, for weights
    that the network does not have.
    """
    import torch

    weights = dict(network.named_parameters())
    halves: dict[tuple[str, str], dict[str, Tensor]] = {}
    with torch.no_grad():
        for name, tensor in state.items():
            if found := LORA_KEY.fullmatch(name):
                halves.setdefault((found["module"], found["adapter"]), {})[found["half"]] = tensor
            else:
                plain = name.replace(".base_layer.", ".")
                _fitting(weights, plain, tensor.shape, source).copy_(tensor)
        for (module, adapter), pair in halves.items():
            if len(pair) != 2:
                raise WeightsError(f"{source} contains only one half of {module}.{adapter}")
            up, down = pair["B"].float().flatten(1), pair["A"].float().flatten(1)
            if up.shape[1] != down.shape[0]:
                raise WeightsError(f"{source}: the shapes of the halves of {module}.{adapter} do not match")
            shape = (*pair["B"].shape[:1], *pair["A"].shape[1:])
            weight = _fitting(weights, f"{module}.weight", shape, source)
            weight += (ALPHA / down.shape[0] * (up @ down)).view(shape).to(weight)


def _fitting(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...], source: str) -> Tensor:
    weight = weights.get(name)
    if weight is None or tuple(weight.shape) != tuple(shape):
        has = "has no such weights" if weight is None else f"has the shape {tuple(weight.shape)}"
        raise WeightsError(
            f"{source} modifies {name} with shape {tuple(shape)}, but the network {has}",
            "it is for another base model",
        )
    return weight
