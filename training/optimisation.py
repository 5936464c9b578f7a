"""The averaged weights and the learning rate schedule that all trainings share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

LOWEST = 0.01
"""Factor of the learning rate at the end of a training."""


def averaged_model(network: nn.Module, decay: float, step: int = 0) -> AveragedModel:
    """The exponential moving average of the weights of a network, after `step` updates.

    The decay begins with 2/11 and rises to `decay`, so that the initial weights soon lose their influence.
    """

    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        count = int(updates)
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, 1 - min(decay, (1 + count) / (10 + count)))

    average = AveragedModel(network, multi_avg_fn=update)
    average.n_averaged.fill_(step + 1)  # the initial weights count as the first
    return average


def cosine_schedule(
    optimiser: Optimizer, learning_rate: float, warm_up: int, progress_at: Callable[[int], float], step: int = 0
) -> LambdaLR:
    """Linear warm-up over `warm_up` steps, and a cosine from `learning_rate` to `LOWEST` of it.

    `progress_at` returns the finished part of the training, in [0, 1], at the step that follows. `step` is the number
    of steps that are done.
    """

    def factor(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress_at(step))))
        return min(1.0, (step + 1) / warm_up) * max(cosine, LOWEST)

    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] = learning_rate
    return LambdaLR(optimiser, factor, last_epoch=step - 1)
