"""The degradation estimator: what is wrong with a picture, how badly, where, and by what measurements."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.features import ImageFeatures, extract_features
from iqa.patches import COUNT, Patches
from toolbox.catalogue import default_catalogue
from toolbox.expert import Expert, load_expert, without_tta
from toolbox.tasks import Degradation, Severity

if TYPE_CHECKING:
    from torch import Tensor

    from iqa.degradation_net import LoadedNetwork

NETWORK = "degradations.safetensors"
CACHED_OUTPUTS = 4
"""Pictures whose network output is remembered."""
DERAINING_EXPERT = "restore4k_derain"
"""Asked a second time for rain in thumbnails, where streaks are hardly visible."""
THUMBNAIL_PX = 320
"""Long side below which it is asked."""
DOUBT = 0.03
"""A chance of rain within so much of 0 or 1 is not checked again."""
FAINT = 0.1
"""Light of 255 that is added to what was taken away, so that nothing has a logarithm."""
SMALL_PX = (1000, 400, 260, 140)
"""Long sides below which resolution is low by one more level; 4KAgent takes 300 as small."""
OCTAVES_PER_LEVEL = 0.5
"""A picture that is enlarged by 2 has risen by two levels of the network's."""
QUANTIZATION_RELATIVE_TO_Q50 = (0.5, 1.0, 1.38, 1.95)
"""Steps of JPEG, relative to quality 50, from which it is worse by one more level: qualities 75, 50, 36 and 26."""
EVEN = {Degradation.DARK: 0.25, Degradation.HAZE: 0.06}
"""Range of luminance (the 5th to the 99th percentile, of 1) below which a picture is a wall, or a sky: that it is no
brighter, or has no contrast, says nothing of the light. Of hazy photos one in a hundred has less.
"""
DIM = 0.4
"""Mean luminance up to which even such a picture may be dark."""
NAMED: Mapping[Degradation, tuple[str, ...]] = {
    Degradation.NOISE: ("noise_luma_1px_flat_sigma_255", "noise_chroma_1px_flat_sigma_255", "spectrum_floor_db"),
    Degradation.JPEG_ARTIFACT: (
        "quantization_relative_to_q50",
        "grid_excess",
        "zero_excess",
        "regrid_log",
        "regrid_px",
    ),
    Degradation.MOTION_BLUR: ("edge_1px_narrowest_direction_px", "edge_1px_widest_direction_px", "cepstrum_line_dip"),
    Degradation.DEFOCUS_BLUR: ("edge_1px_sharp_width_px", "spectrum_fall_to_4px_db", "cepstrum_ring_dip"),
    Degradation.HAZE: ("dark_channel_mean", "airlight", "local_contrast", "saturation_mean"),
    Degradation.RAIN: ("streak_strength_log", "streak_over_other_directions_log", "streak_contrast_255"),
    Degradation.DARK: ("luminance_mean", "luminance_percentile_50", "luminance_percentile_99", "luma_largest_255"),
}
"""The measured numbers that a person understands, for the report; the network weighs all of them."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known about one degradation of one picture."""

    severity: Severity
    """VERY_LOW is absent; from MEDIUM on it is worth a task."""
    confidence: float
    """In [0, 1]: how often such an answer is right that the degradation is worth a task, or is not."""
    level: float
    """The severity before rounding: the expected number of levels reached, in [0, 4]."""
    measurements: Mapping[str, float]
    """Measured numbers, by names that end in their unit."""
    where: tuple[float, ...]
    """The level in each cell of a 3x3 grid, row by row, as its patch shows it; empty where there is no such thing."""


@dataclass(frozen=True, slots=True, eq=False)
class NetworkOutput:
    """Answers of the network, and what they are made of."""

    whole: Tensor
    """(kinds, levels) logits of reaching each level of each degradation."""
    local: Tensor
    """(patches, kinds, levels): the same of every patch."""
    description: Tensor
    """(f,): features of the small whole, the mean of those of the patches, and the handcrafted ones."""


@lru_cache(CACHED_OUTPUTS)
def network_output(features: ImageFeatures) -> NetworkOutput:
    """The output of the estimator's network, computed once for estimator, content and no-reference fidelity."""
    import torch

    from iqa.degradation_net import signed_log

    loaded = estimator()
    network, patches = loaded.network, features.patches
    with torch.inference_mode():
        row = torch.tensor([signed_log(features.handcrafted, loaded.handcrafted)])
        details, scene = network.details(patches.near[None]), network.scene(patches.whole[None])
        whole, local = network.answer(details, scene, row)
        kinds = len(loaded.outputs)
        return NetworkOutput(
            whole.reshape(kinds, -1),
            local.reshape(local.shape[1], kinds, -1),
            network.describe(details, scene, row)[0],
        )


def estimator() -> LoadedNetwork:
    """The network that ships (`python -m training.fits.degradation_net`)."""
    from iqa.degradation_net import load_degradation_net

    return load_degradation_net(NETWORK, 3)


def estimate_degradations(image: Image) -> dict[Degradation, Estimate]:
    """Noise, blurs, haze, rain, darkness, compression and low resolution, all of them always answered.

    By a network that looks at nine patches and at the whole in small, beside handcrafted features, trained on
    synthesised degradations (`python -m training.fits.degradation_net`). Takes about 0.15 s at any size.
    """
    return estimates_from(extract_features(image))


def estimates_from(features: ImageFeatures) -> dict[Degradation, Estimate]:
    """The same of a picture that has been looked at already."""
    loaded, measurements, patches = estimator(), features.handcrafted, features.patches
    found = network_output(features)
    whole, levels = found.whole.sigmoid(), found.local.sigmoid().sum(2)
    estimates: dict[Degradation, Estimate] = {}
    for index, name in enumerate(loaded.outputs):
        reached = whole[index].tolist()
        kind = Degradation(name)
        if kind is Degradation.LOW_RESOLUTION:
            estimates[kind] = _resolution(measurements["long_side_px"], sum(reached))
        else:
            grid = _grid(patches.cells, levels[:, index].tolist())
            if kind is Degradation.RAIN and measurements["long_side_px"] < THUMBNAIL_PX:
                reached = recheck_rain(reached, patches)
            if not _tones_tell(kind, measurements):
                reached = [0.0] * len(reached)
            estimates[kind] = _estimate(
                reached, loaded.least[index], {name: measurements[name] for name in NAMED[kind]}, grid
            )
    return estimates


def _tones_tell(kind: Degradation, measurements: Mapping[str, float]) -> bool:
    """Whether tones can tell of this degradation in such a picture."""
    spread = measurements["luminance_percentile_99"] - measurements["luminance_percentile_5"]
    dim = kind is Degradation.DARK and measurements["luminance_mean"] <= DIM
    return dim or spread >= EVEN.get(kind, 0.0)


def low_resolution(resolved_px: float) -> Severity:
    """How low the resolution of a picture is whose long side shows that many pixels."""
    return Severity(sum(resolved_px < limit for limit in SMALL_PX))


def jpeg_severity(quantization_relative_to_q50: float) -> Severity:
    """How badly a picture is compressed whose JPEG has such steps, as the synthesiser would call it."""
    return Severity(sum(quantization_relative_to_q50 > limit for limit in QUANTIZATION_RELATIVE_TO_Q50))


def _estimate(
    reached: list[float], least: float, measurements: Mapping[str, float], where: tuple[float, ...]
) -> Estimate:
    severity = Severity(sum(chance > least for chance in reached))
    needed = reached[Severity.MEDIUM - 1]
    confidence = needed if severity >= Severity.MEDIUM else 1 - needed
    return Estimate(severity, confidence, sum(reached), measurements, where)


def _resolution(long_side: float, levels: float) -> Estimate:
    """From the pixels that there are, and the levels by which the picture looks enlarged."""
    enlarged = 2 ** (OCTAVES_PER_LEVEL * round(levels)) if levels > 1 else 1.0
    resolved = long_side / enlarged
    octaves = math.log2(SMALL_PX[Severity.MEDIUM - 1] / resolved)
    return Estimate(
        low_resolution(resolved),
        1 / (1 + math.exp(-4 * abs(octaves))),
        sum(1 / (1 + (resolved / limit) ** 8) for limit in SMALL_PX),
        {"long_side_px": long_side, "resolved_long_side_px": resolved},
        (),
    )


def _grid(cells: tuple[int, ...], levels: list[float]) -> tuple[float, ...]:
    grid = [0.0] * COUNT
    for cell, level in zip(cells, levels, strict=True):
        grid[cell] = max(grid[cell], level)
    return tuple(grid)


def recheck_rain(reached: Sequence[float], patches: Patches) -> list[float]:
    """The chances that each level of rain is reached in a thumbnail, given what the estimator says they are.

    A logistic regression on its chance that deraining is worth a task and on the light that deraining takes away
    moves all of them alike (`python -m training.fits.rain`).
    """
    chance = reached[Severity.MEDIUM - 1]
    if not DOUBT < chance < 1 - DOUBT:
        return list(reached)
    fitted, first = _rain_fit(), _logit(chance)
    second = (
        fitted["chance"] * first
        + fitted["removed"] * math.log(removed_rain_255(patches) + FAINT)
        + fitted["constant"]
    )
    return [1 / (1 + math.exp(first - second - _logit(value))) for value in reached]


def removed_rain_255(patches: Patches) -> float:
    """The mean light that deraining takes from the patches of a picture, of 255; 0 where it adds some."""
    near = {patch.numpy().tobytes(): patch for patch in patches.near}  # of very small pictures all nine are the same
    lost = [
        float((patch - _deraining_network()(Image(patch), ProgressToken()).pixels).mean()) for patch in near.values()
    ]
    return max(0.0, 255 * sum(lost) / len(lost))


def _logit(chance: float) -> float:
    chance = min(max(chance, 1e-6), 1 - 1e-6)
    return math.log(chance / (1 - chance))


@cache
def _deraining_network() -> Expert:
    return without_tta(load_expert(default_catalogue().card(DERAINING_EXPERT)))


@cache
def _rain_fit() -> dict[str, float]:
    return tomllib.loads((resources.files("iqa") / "rain.toml").read_text("utf-8"))
