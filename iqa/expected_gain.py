"""The gain that each expert is expected to bring on a picture, with its uncertainty.

Quantile regression (Koenker & Bassett 1978) by a small perceptron on the features of `DegradationNet`; an expert is
expected to help where the lower quantile of its gain lies above zero. Fitted by `training.fits.expected_gain` on
photographs of `training.camera`, synthetic mixtures, clean photos and real pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from iqa.errors import BadParameters
from iqa.features import ImageFeatures
from toolbox.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

FILE = "expected_gain.safetensors"
LIMIT = 4.0
"""Standardised features are clipped here."""
DB_PER_SCORE = 12.0
"""Decibels of expected gain that outweigh a unit of the score, whose quality network was fitted on other pictures:
with 40 it kept the input in half of 23 training cases with a clear expected gain, though experts gained 2.3 dB there.
"""
AS_GOOD_DB = 0.3
"""Difference in the median by which an expert is not worth a run beside the best."""
SHORTLIST_SIZE = 2


@dataclass(frozen=True, slots=True)
class ExpectedGain:
    """Quantiles of the gain in PSNR (dB) over the picture as it is."""

    low_db: float
    """Lower quantile, shifted so that a step that would harm is above zero in at most one of a hundred cases."""
    median_db: float

    @property
    def is_clear(self) -> bool:
        """Whether the gain is clearly positive."""
        return self.low_db > 0


NO_GAIN = ExpectedGain(0.0, 0.0)


def expected_gains(features: ImageFeatures, task: Task | None = None) -> Mapping[str, ExpectedGain]:
    """The expected gain of every expert that the fit knows, or of those for one task, by name."""
    model = load_gain_model()
    quantiles = model(model_input(features)[None])[0].tolist()
    return {
        name: ExpectedGain(low - shift, median)
        for name, of, (low, median), shift in zip(model.experts, model.tasks, quantiles, model.shifts, strict=True)
        if task is None or of == task.value
    }


def expected_gain_of(task: Task, gains: Mapping[str, ExpectedGain]) -> ExpectedGain:
    """The expected gain of a task: that of its expert with the best median."""
    tasks = dict(zip(load_gain_model().experts, load_gain_model().tasks, strict=True))
    own = (gain for name, gain in gains.items() if tasks[name] == task.value)
    return max(own, key=lambda gain: gain.median_db, default=NO_GAIN)


def shortlist_by_gain(gains: Mapping[str, ExpectedGain]) -> list[str]:
    """The experts that may give the best result, the best median first."""
    best = sorted(gains, key=lambda name: -gains[name].median_db)[:SHORTLIST_SIZE]
    return [name for name in best if gains[name].median_db >= gains[best[0]].median_db - AS_GOOD_DB]


def prior_by_gain(gains: Mapping[str, ExpectedGain], expert: str, consistency: float) -> float:
    """What the expected gain of an expert adds to its score; `gains` are those of one task.

    An expert that the fit does not know has half the best gain, as far as its result explains the input: the rest is
    likely to be invented.
    """
    if expert in gains:
        return gains[expert].median_db / DB_PER_SCORE
    best = max((gain.median_db for gain in gains.values()), default=0.0)
    return consistency * max(0.0, best) / 2 / DB_PER_SCORE


def model_input(features: ImageFeatures) -> Tensor:
    """(f,): the description of the picture, and the logits of its degradations' levels."""
    import torch

    output = features.network_output
    return torch.cat([output.description, output.whole.flatten()])


@dataclass(frozen=True, slots=True, eq=False)
class GainModel:
    """An ensemble of perceptrons with one hidden layer; their quantiles are averaged."""

    experts: tuple[str, ...]
    tasks: tuple[str, ...]
    """The task of each expert."""
    shifts: tuple[float, ...]
    """What is taken off the lower quantile of each expert, in dB."""
    centre: Tensor
    spread: Tensor
    """(f,): mean and deviation of the inputs."""
    hidden: Tensor
    hidden_bias: Tensor
    """(k, f, h) and (k, 1, h): the hidden layers of k perceptrons."""
    output: Tensor
    output_bias: Tensor
    """(k, h, 2 experts) and (k, 1, 2 experts)."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """(b, experts, 2): lower quantile and median in dB, from (b, f)."""
        standard = ((inputs.float() - self.centre) / self.spread).clamp(-LIMIT, LIMIT)
        hidden = (standard @ self.hidden + self.hidden_bias).relu()
        quantiles: Tensor = (hidden @ self.output + self.output_bias).mean(0)
        return quantiles.reshape(len(inputs), len(self.experts), 2)


@cache
def load_gain_model() -> GainModel:
    """The fit that ships. Raises `BadParameters` where its file is damaged."""
    from safetensors import safe_open

    try:
        with (
            resources.as_file(resources.files("iqa") / FILE) as path,
            safe_open(path, framework="pt") as stored,
        ):
            names = json.loads((stored.metadata() or {})["names"])
            tensors = {key: stored.get_tensor(key).float() for key in stored.keys()}  # noqa: SIM118
        return GainModel(
            tuple(names["experts"]), tuple(names["tasks"]), tuple(map(float, names["shifts"])), **tensors
        )
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadParameters(f"iqa/{FILE} is not usable: {error!r}", "install restore4k again") from error
