"""Low-rank changes of weights (LoRA, Hu et al. 2021, arXiv 2106.09685) in the form that the library peft writes.

They are added to the weights once, so that the network runs as fast as without them and needs no further library.
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
"""What peft divides by the rank where nobody says otherwise, and the published files say nothing."""
HALF = re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])\.(?P<adapter>[^.]+)\.weight")


def adapters(state: Mapping[str, Tensor]) -> frozenset[str]:
    """The names of the changes that `state` holds, several for one network."""
    return frozenset(found["adapter"] for name in state if (found := HALF.fullmatch(name)))


def add_lora(network: Module, state: Mapping[str, Tensor], source: str) -> None:
    """Add all changes of `state` to the weights of `network`: W + ALPHA / rank * B A.

    What `state` holds beside them replaces the network's own. Raises `WeightsError`, naming `source`, for what the
    network has no place for.
    """
    import torch

    weights = dict(network.named_parameters())
    halves: dict[tuple[str, str], dict[str, Tensor]] = {}
    with torch.no_grad():
        for name, tensor in state.items():
            if found := HALF.fullmatch(name):
                halves.setdefault((found["module"], found["adapter"]), {})[found["half"]] = tensor
            else:
                plain = name.replace(".base_layer.", ".")
                _fitting(weights, plain, tensor.shape, source).copy_(tensor)
        for (module, adapter), pair in halves.items():
            if len(pair) != 2:
                raise WeightsError(f"{source} holds one half of {module}.{adapter} only")
            up, down = pair["B"].float().flatten(1), pair["A"].float().flatten(1)
            if up.shape[1] != down.shape[0]:
                raise WeightsError(f"{source}: the halves of {module}.{adapter} do not fit each other")
            shape = (*pair["B"].shape[:1], *pair["A"].shape[1:])
            weight = _fitting(weights, f"{module}.weight", shape, source)
            weight += (ALPHA / down.shape[0] * (up @ down)).view(shape).to(weight)


def _fitting(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...], source: str) -> Tensor:
    weight = weights.get(name)
    if weight is None or tuple(weight.shape) != tuple(shape):
        has = "has no such weights" if weight is None else f"has them as {tuple(weight.shape)}"
        raise WeightsError(
            f"{source} changes {name} of {tuple(shape)}, and the network {has}", "it was made for another base model"
        )
    return weight
