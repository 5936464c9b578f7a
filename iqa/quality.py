"""The quality score that Q-MoE ranks candidates by: 4KAgent's formula, over whatever metrics are present.

4KAgent (arXiv 2507.07105) adds Qs = HPSv2 + Qnr / 4, with Qnr = (1 - NIQE / 10) + 0.01 MUSIQ + MANIQA + CLIPIQA.
Here the same sum is a weighted mean of parts that all lie in [0, 1], so that a part that is missing can be left
out: with all five there, score = Qs / 2 (and 4KAgent's threshold of 0.5 is 0.25); with the four of Qnr, Qnr / 4.
Weights are data, in quality.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from iqa.errors import BadParameters
from iqa.features import ImageFeatures, extract_features
from iqa.no_reference_fidelity import predict_no_reference_fidelity
from toolbox.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from imaging.image import Image

NETWORK = "predicted_fidelity.safetensors"
THRESHOLD_OF_QS, THRESHOLD_OF_HPSV2 = 0.5, 0.12


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a picture looks, and what that is made of."""

    score: float
    """In [0, 1], higher is better."""
    parts: Mapping[str, float]
    """The raw values of the metrics that took part, by name."""


@dataclass(frozen=True, slots=True)
class Part:
    """How one metric enters the score."""

    weight: float
    at_zero: float
    """The metric's value that counts as 0."""
    at_one: float
    """The metric's value that counts as 1."""

    def __call__(self, value: float) -> float:
        """The value on the common scale, limited to [0, 1]."""
        return min(1.0, max(0.0, (value - self.at_zero) / (self.at_one - self.at_zero)))


@dataclass(frozen=True, slots=True)
class Origin:
    """What a candidate was made of, and by which task."""

    task: Task
    features: ImageFeatures
    """The input; its patches as large as the candidate's."""
    level: float = 0.0
    """How much of the task's degradation it shows, in levels of severity."""
    co_degradation_severity: float = 0.0
    """Severity of co-occurring degradations that change the expert ranking; see `iqa.expert_priors`."""


def quality(image: Image) -> Quality:
    """The quality of a picture from what is embedded: NIQE, and the fidelity that the network predicts.

    About 0.15 s at any size.
    """
    return quality_of(extract_features(image))


def quality_of(
    features: ImageFeatures, origin: Origin | None = None, published: Mapping[str, float] | None = None
) -> Quality:
    """The same of a picture that has been looked at; with its origin, what was changed counts too.

    `published`: values of published metrics, where they can be measured; then they make up the score.

    `predicted_fidelity` predicts the fidelity to the unseen original (the mean of SSIM and of PSNR from 10 to 40 dB),
    in [0, 1]: of a picture alone by `iqa.no_reference_fidelity`, of a candidate by a network that sees its origin too
    and knows what experts make of pictures (`python -m training.fits.quality`).
    """
    predicted = predicted_fidelity(features, origin) if origin else predict_no_reference_fidelity(features).mean
    own = {"niqe": features.handcrafted["niqe"], "predicted_fidelity": predicted}
    parts = {**own, **(published or {})}
    return Quality(combine(parts), parts)


def rollback_threshold(parts: Mapping[str, float]) -> float | None:
    """The quality score below which 4KAgent undoes a step; None where its metrics are not all among the parts.

    It asks for Qs >= 0.5, or 0.12 where HPSv2 is the only one (arXiv 2507.07105).
    """
    known = _parts()["published"].keys()
    if known <= parts.keys():
        return THRESHOLD_OF_QS / 2
    return THRESHOLD_OF_HPSV2 if known & parts.keys() - {"niqe"} == {"hpsv2"} else None


def predicted_fidelity(features: ImageFeatures, origin: Origin | None) -> float:
    """What the network that knows origins says; without one, of a picture that comes from nowhere."""
    import torch

    from iqa.degradation_net import load_degradation_net

    judge = load_degradation_net(NETWORK, 6)
    before = origin.features if origin else features
    with torch.inference_mode():
        answer, _ = judge.network(
            with_change(features.patches.near, before.patches.near)[None],
            with_change(features.patches.whole, before.patches.whole)[None],
            torch.tensor([candidate_row(features, before, origin.task if origin else None, judge.handcrafted)]),
        )
    return float(answer[0, 0].clamp(0, 1))


def with_change(after: Tensor, before: Tensor) -> Tensor:
    """(..., 6, h, w): the candidate's pixels, and 0.5 plus what was changed."""
    import torch

    return torch.cat([after, after - before + 0.5], -3)


def candidate_row(
    features: ImageFeatures, before: ImageFeatures, task: Task | None, names: Sequence[str]
) -> list[float]:
    """What is measured of a candidate, what of it is new, and for every task whether it is the one that was done."""
    from iqa.degradation_net import signed_log

    after, was = signed_log(features.handcrafted, names), signed_log(before.handcrafted, names)
    return [*after, *(a - w for a, w in zip(after, was, strict=True)), *(float(task is one) for one in Task)]


def combine(values: Mapping[str, float]) -> float:
    """The score in [0, 1] of raw metric values by name: the weighted mean of those that are known and present.

    4KAgent's own metrics decide as soon as one besides NIQE is there; until then the embedded ones.
    Raises `BadParameters` where no value has a known name.
    """
    tables = _parts()
    published = tables["published"].keys() & values.keys() - {"niqe"}
    table = tables["published" if published else "embedded"]
    present = {name: part for name, part in table.items() if name in values}
    if published == {"hpsv2"}:
        present.pop("niqe", None)  # the preference alone, as profiles may ask
    total = sum(part.weight for part in present.values())
    if total <= 0:
        raise BadParameters(f"none of {', '.join(values) or 'no metrics'} has a weight", "see iqa/quality.toml")
    return sum(part.weight * part(values[name]) for name, part in present.items()) / total


@cache
def _parts() -> Mapping[str, Mapping[str, Part]]:
    try:
        tables = tomllib.loads((resources.files("iqa") / "quality.toml").read_text("utf-8"))
        return {
            form: {name: Part(**part) for name, part in tables[form].items()} for form in ("published", "embedded")
        }
    except (OSError, tomllib.TOMLDecodeError, TypeError, KeyError, AttributeError) as error:
        raise BadParameters(f"iqa/quality.toml is not usable: {error!r}", "install restore4k again") from error
