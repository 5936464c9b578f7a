"""The quality score that Q-MoE ranks candidates by: 4KAgent's formula over the metrics that are available.

4KAgent (arXiv 2507.07105) computes Qs = HPSv2 + Qnr / 4, with Qnr = (1 - NIQE / 10) + 0.01 MUSIQ + MANIQA + CLIPIQA.
Here the same sum is a weighted mean of parts in [0, 1], so that missing parts can be left out. With all five metrics
score = Qs / 2 (4KAgent's threshold of 0.5 becomes 0.25); with the four of Qnr, score = Qnr / 4. The weights are in
quality.toml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from iqa.errors import BadParameters
from iqa.features import ImageFeatures
from iqa.no_reference_fidelity import predict_no_reference_fidelity
from iqa.parameters import read_toml, reading
from toolbox.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor


NETWORK = "predicted_fidelity.safetensors"
THRESHOLD_OF_QS, THRESHOLD_OF_HPSV2 = 0.5, 0.12


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality score of an image, and its parts."""

    score: float
    """In [0, 1], higher is better."""
    parts: Mapping[str, float]
    """The raw values of the metrics in the score, by name."""


@dataclass(frozen=True, slots=True)
class Part:
    """The weight and the normalisation of one metric in the score."""

    weight: float
    at_zero: float
    """The value of the metric that is mapped to 0."""
    at_one: float
    """The value of the metric that is mapped to 1."""

    def __call__(self, value: float) -> float:
        """The value mapped to [0, 1] and clipped."""
        return min(1.0, max(0.0, (value - self.at_zero) / (self.at_one - self.at_zero)))


@dataclass(frozen=True, slots=True)
class Origin:
    """The input of the step that made a candidate, and its task."""

    task: Task
    features: ImageFeatures
    """Features of the input, with patches enlarged to the size of the candidate."""
    level: float = 0.0
    """Severity of the task's degradation in the input, in levels."""
    co_degradation_severity: float = 0.0
    """Severity of co-occurring degradations that change the expert ranking; see `iqa.expert_priors`."""


def quality_of(
    features: ImageFeatures,
    origin: Origin | None = None,
    published: Mapping[str, float] | None = None,
    *,
    with_niqe: bool = True,
) -> Quality:
    """The quality of an image by its features; with `origin`, of a candidate of a step.

    `published`: values of the published metrics that were measured; they replace the embedded ones in the score.
    `with_niqe`: whether NIQE counts in the embedded score.

    `predicted_fidelity` is the predicted fidelity to the unseen original (mean of SSIM and of PSNR mapped from 10..40
    dB), in [0, 1]. Without an origin `iqa.no_reference_fidelity` predicts it; with one, a network that compares the
    candidate with its input and is trained on the results of experts (`python -m training.fits.quality`).
    """
    predicted = predicted_fidelity(features, origin) if origin else predict_no_reference_fidelity(features).mean
    own = {"niqe": features.handcrafted["niqe"], "predicted_fidelity": predicted}
    parts = {**own, **(published or {})}
    if not with_niqe and not published:
        return Quality(combine({"predicted_fidelity": predicted}), parts)
    return Quality(combine(parts), parts)


def rollback_threshold(parts: Mapping[str, float]) -> float | None:
    """The quality score below which 4KAgent rolls a step back; None if one of its metrics is missing.

    The paper (arXiv 2507.07105) requires Qs >= 0.5, or 0.12 where HPSv2 is the only metric.
    """
    known = _parts()["published"].keys()
    if known <= parts.keys():
        return THRESHOLD_OF_QS / 2
    return THRESHOLD_OF_HPSV2 if known & parts.keys() - {"niqe"} == {"hpsv2"} else None


def predicted_fidelity(features: ImageFeatures, origin: Origin | None) -> float:
    """Fidelity predicted by the network for candidates; without an origin the image is its own input."""
    import torch

    from iqa.degradation_net import degradation_net

    judge = degradation_net(features.models, NETWORK, 6)
    before = origin.features if origin else features
    with torch.inference_mode():
        answer, _ = judge.network(
            with_change(features.patches.near, before.patches.near)[None],
            with_change(features.patches.whole, before.patches.whole)[None],
            torch.tensor([candidate_row(features, before, origin.task if origin else None, judge.handcrafted)]),
        )
    return float(answer[0, 0].clamp(0, 1))


def with_change(after: Tensor, before: Tensor) -> Tensor:
    """(..., 6, h, w): the candidate's pixels, and 0.5 plus its difference from the input."""
    import torch

    return torch.cat([after, after - before + 0.5], -3)


def candidate_row(
    features: ImageFeatures, before: ImageFeatures, task: Task | None, names: Sequence[str]
) -> list[float]:
    """Handcrafted features of a candidate, their differences from the input's, and the task (one-hot)."""
    from iqa.degradation_net import signed_log

    after, was = signed_log(features.handcrafted, names), signed_log(before.handcrafted, names)
    return [*after, *(a - w for a, w in zip(after, was, strict=True)), *(float(task is one) for one in Task)]


def combine(values: Mapping[str, float]) -> float:
    """The score in [0, 1] of raw metric values by name: the weighted mean of those that have a weight.

    If 4KAgent's metrics are present, beyond NIQE, they make up the score, otherwise the embedded ones.
    Raises `BadParameters` if no value has a weight.
    """
    tables = _parts()
    published = tables["published"].keys() & values.keys() - {"niqe"}
    table = tables["published" if published else "embedded"]
    present = {name: part for name, part in table.items() if name in values}
    if published == {"hpsv2"}:
        present.pop("niqe", None)  # HPSv2 alone, as profiles may request
    total = sum(part.weight for part in present.values())
    if total <= 0:
        raise BadParameters(f"none of {', '.join(values) or 'no metrics'} has a weight", "see iqa/quality.toml")
    return sum(part.weight * part(values[name]) for name, part in present.items()) / total


@cache
def _parts() -> Mapping[str, Mapping[str, Part]]:
    with reading("quality.toml"):
        tables = read_toml("quality.toml")
        return {
            form: {name: Part(**part) for name, part in tables[form].items()} for form in ("published", "embedded")
        }
