"""Predicts the gain of each expert on a picture, with its uncertainty.

Quantile regression (Koenker & Bassett 1978) by small perceptrons on handcrafted features, the degradation estimator's
logits and the residuals of the embedded networks (`iqa.residuals`); an expert is expected to help where the lower
quantile of its gain lies above zero. Fitted by `training.fits.expected_gain` on photographs of `training.camera`,
synthetic mixtures, clean photos and real pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from iqa.features import ImageFeatures
from iqa.parameters import read_tensors, reading
from toolbox.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

FILE = "expected_gain.safetensors"
LIMIT = 4.0
"""Standard deviations to which features are clipped."""
DB_PER_SCORE = 6.0
"""Decibels of expected gain that equal a unit of the score. Chosen on 121 planned steps of 127 training pictures,
with expected gains of perceptrons that had not seen them (an earlier fit): the choice gains 2.68 dB with 6, 2.40 with
12, and 1.31 by the score alone; the best choice gains 2.75.
"""
CLEAR_DB = 0.1
"""Lower quantile from which a gain is clearly positive: most clean pictures that would be changed are below it."""
PROBABLE_LOW_DB = -0.1
"""Lower quantile from which a gain is probable if its median is high enough."""
AS_GOOD_DB = 0.3
"""An expert whose median gain is lower than the best by more than this is not worth a run."""
SHORTLIST_SIZE = 2


@dataclass(frozen=True, slots=True)
class ExpectedGain:
    """Quantiles of the gain in PSNR (dB) over the picture as it is."""

    low_db: float
    """Lower quantile, shifted so that at most one in forty clear gains of an expert was a loss on held-out cases."""
    median_db: float

    @property
    def is_clear(self) -> bool:
        """Whether the gain is clearly positive."""
        return self.low_db > CLEAR_DB


NO_GAIN = ExpectedGain(0.0, 0.0)


def expected_gains(features: ImageFeatures, task: Task | None = None) -> Mapping[str, ExpectedGain]:
    """The expected gain of every expert that the fit knows, or of those for one task, by name."""
    model = load_gain_model()
    quantiles = model(model_input(features)[None])[0].tolist()
    return {
        name: ExpectedGain(low - shift, median)
        for name, known, (low, median), shift in zip(model.experts, model.tasks, quantiles, model.shifts, strict=True)
        if task is None or known == task.value
    }


def expected_gain_of(task: Task, gains: Mapping[str, ExpectedGain]) -> ExpectedGain:
    """The expected gain of a task: that of its expert with the best median."""
    tasks = dict(zip(load_gain_model().experts, load_gain_model().tasks, strict=True))
    own = (gain for name, gain in gains.items() if tasks[name] == task.value)
    return max(own, key=lambda gain: gain.median_db, default=NO_GAIN)


def is_probable(task: Task, low_db: float, median_db: float) -> bool:
    """Whether a gain of these quantiles is clear, or at least probable."""
    return low_db > CLEAR_DB or (low_db > PROBABLE_LOW_DB and median_db > task.spec.probable_median_db)


def shortlist_by_gain(gains: Mapping[str, ExpectedGain]) -> list[str]:
    """The experts that may give the best result, the best median first."""
    best = sorted(gains, key=lambda name: -gains[name].median_db)[:SHORTLIST_SIZE]
    return [name for name in best if gains[name].median_db >= gains[best[0]].median_db - AS_GOOD_DB]


def prior_by_gain(gains: Mapping[str, ExpectedGain], expert: str, consistency: float) -> float:
    """The prior of an expert, at most 0: its expected gain minus the best of `gains` (of one task), in score units.

    An expert unknown to the fit gets half the best gain times its consistency: content that the input does not
    explain is probably invented.
    """
    best = _best_gain(gains)
    own = gains[expert].median_db if expert in gains else consistency * best / 2
    return (own - best) / DB_PER_SCORE


def prior_of_no_gain(gains: Mapping[str, ExpectedGain]) -> float:
    """The prior of keeping the input."""
    return -_best_gain(gains) / DB_PER_SCORE


def _best_gain(gains: Mapping[str, ExpectedGain]) -> float:
    return max(0.0, *(gain.median_db for gain in gains.values()))


def model_input(features: ImageFeatures) -> Tensor:
    """(f,): handcrafted features, the logits of the degradations' levels, and features of residuals."""
    import torch

    output = features.network_output
    return torch.cat([output.handcrafted, output.whole.flatten(), features.residuals])


@dataclass(frozen=True, slots=True, eq=False)
class GainModel:
    """An ensemble of perceptrons with one hidden layer; their quantiles are averaged."""

    experts: tuple[str, ...]
    tasks: tuple[str, ...]
    """The task of each expert."""
    shifts: tuple[float, ...]
    """Value in dB that is subtracted from the lower quantile of each expert."""
    centre: Tensor
    spread: Tensor
    """(f,): mean and deviation of the inputs."""
    hidden: Tensor
    hidden_bias: Tensor
    """(k, f, h) and (k, 1, h): the hidden layers of k perceptrons."""
    output: Tensor
    output_bias: Tensor
    """(k, h, 2 experts) and (k, 1, 2 experts): the output layers."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """(b, experts, 2): lower quantile and median in dB, from (b, f)."""
        standard = ((inputs.float() - self.centre) / self.spread).clamp(-LIMIT, LIMIT)
        hidden = (standard @ self.hidden + self.hidden_bias).relu()
        quantiles: Tensor = (hidden @ self.output + self.output_bias).mean(0)
        return quantiles.reshape(len(inputs), len(self.experts), 2)


@cache
def load_gain_model() -> GainModel:
    """The embedded model. Raises `BadParameters` if its file is damaged."""
    with reading(FILE):
        tensors, names = read_tensors(FILE)
        return GainModel(
            tuple(names["experts"]), tuple(names["tasks"]), tuple(map(float, names["shifts"])), **tensors
        )
