"""The degradation estimator: severity, confidence, location and measurements of every degradation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.features import ImageFeatures
from iqa.parameters import read_toml
from iqa.patches import COUNT
from toolbox.catalogue import default_catalogue
from toolbox.expert import load_expert, without_tta
from toolbox.tasks import Degradation, Severity

DERAINING_EXPERT = "restore4k_derain"
"""Expert that checks thumbnails for rain, whose streaks are hardly visible there."""
THUMBNAIL_PX = 320
"""Long side below which an image is a thumbnail."""
DOUBT = 0.03
"""A probability of rain within this distance of 0 or 1 is not checked again."""
FAINT = 0.1
"""Brightness (of 255) that is added before the logarithm, so that it is defined at 0."""
SMALL_PX = (1000, 400, 260, 140)
"""Long sides below which low resolution is one level more severe; 4KAgent calls images below 300 small."""
OCTAVES_PER_LEVEL = 0.5
"""Octaves of enlargement per level of the network: an image enlarged by 2 is two levels higher."""
QUANTIZATION_RELATIVE_TO_Q50 = (0.5, 1.0, 1.38, 1.95)
"""JPEG quantization relative to quality 50 above each of which severity rises: qualities 75, 50, 36, 26."""
UNIFORM_RANGE = {Degradation.DARK: 0.25, Degradation.HAZE: 0.06}
"""Range of luminance (5th to 99th percentile, in [0, 1]) below which an image is nearly uniform (a wall,
the sky), so that its tones do not show the degradation. One hazy photo in a hundred has a smaller range.
"""
DIM_LUMINANCE = 0.4
"""Mean luminance up to which a nearly uniform image may still be dark."""
REPORTED: Mapping[Degradation, tuple[str, ...]] = {
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
"""The features that the report shows for each degradation; the network uses these and others."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate of one degradation of one image."""

    severity: Severity
    """VERY_LOW means absent; from MEDIUM on a task is planned."""
    confidence: float
    """Probability in [0, 1] that the decision for or against a task is right."""
    level: float
    """The severity before thresholding: the expected number of levels that are reached, in [0, 4]."""
    measurements: Mapping[str, float]
    """Measured numbers, by names that end in their unit."""
    where: tuple[float, ...]
    """The level of the patch in each cell of a 3x3 grid, row by row; empty for low resolution."""


def estimates_from(features: ImageFeatures) -> dict[Degradation, Estimate]:
    """Estimate noise, blurs, haze, rain, darkness, compression and low resolution.

    The network gets nine patches, the downscaled image and handcrafted features. It is trained on synthesised
    degradations (`python -m training.fits.degradation_net`).
    """
    from iqa.degradation_net import degradation_net

    loaded, measurements = degradation_net(features.models), features.handcrafted
    found = features.network_output
    whole, levels = found.whole.sigmoid(), found.local.sigmoid().sum(2)
    estimates: dict[Degradation, Estimate] = {}
    for index, name in enumerate(loaded.outputs):
        reached = whole[index].tolist()
        kind = Degradation(name)
        if kind is Degradation.LOW_RESOLUTION:
            estimates[kind] = _resolution(measurements["long_side_px"], sum(reached))
        else:
            grid = _grid(features.patches.cells, levels[:, index].tolist())
            if kind is Degradation.RAIN and measurements["long_side_px"] < THUMBNAIL_PX:
                reached = recheck_rain(reached, features)
            if not _tones_show(kind, measurements):
                reached = [0.0] * len(reached)
            estimates[kind] = _estimate(
                reached, loaded.least[index], {name: measurements[name] for name in REPORTED[kind]}, grid
            )
    return estimates


def _tones_show(kind: Degradation, measurements: Mapping[str, float]) -> bool:
    """Whether the tones of an image can show this degradation: not in a nearly uniform one."""
    spread = measurements["luminance_percentile_99"] - measurements["luminance_percentile_5"]
    dim = kind is Degradation.DARK and measurements["luminance_mean"] <= DIM_LUMINANCE
    return dim or spread >= UNIFORM_RANGE.get(kind, 0.0)


def low_resolution(resolved_px: float) -> Severity:
    """Severity of low resolution in an image with that many resolved pixels on its long side."""
    return Severity(sum(resolved_px < limit for limit in SMALL_PX))


def jpeg_severity(quantization_relative_to_q50: float) -> Severity:
    """Severity of JPEG compression with that quantization, on the scale of the synthesiser."""
    return Severity(sum(quantization_relative_to_q50 > limit for limit in QUANTIZATION_RELATIVE_TO_Q50))


def _estimate(
    reached: list[float], least: float, measurements: Mapping[str, float], where: tuple[float, ...]
) -> Estimate:
    severity = Severity(sum(chance > least for chance in reached))
    needed = reached[Severity.MEDIUM - 1]
    confidence = needed if severity >= Severity.MEDIUM else 1 - needed
    return Estimate(severity, confidence, sum(reached), measurements, where)


def _resolution(long_side: float, levels: float) -> Estimate:
    """The estimate of low resolution from the size and the levels of enlargement that the network sees."""
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


def recheck_rain(reached: Sequence[float], features: ImageFeatures) -> list[float]:
    """Correct the probabilities of reaching each level of rain in a thumbnail.

    A logistic regression on the estimator's probability that deraining is needed, and on the brightness that
    deraining removes, shifts all logits by the same amount (`python -m training.fits.rain`).
    """
    chance = reached[Severity.MEDIUM - 1]
    if not DOUBT < chance < 1 - DOUBT:
        return list(reached)
    coefficients, first = read_toml("rain.toml"), _logit(chance)
    second = (
        coefficients["chance"] * first
        + coefficients["removed"] * math.log(removed_rain_255(features) + FAINT)
        + coefficients["constant"]
    )
    return [1 / (1 + math.exp(first - second - _logit(value))) for value in reached]


def removed_rain_255(features: ImageFeatures) -> float:
    """Mean brightness (of 255) that deraining removes from the patches of an image; 0 if it adds brightness."""
    from iqa.degradation_net import default_models

    card = default_catalogue().card(DERAINING_EXPERT)
    models = features.models or default_models()
    derain = models.hold(f"iqa/{DERAINING_EXPERT}", lambda: without_tta(load_expert(card)))
    patches = {patch.numpy().tobytes(): patch for patch in features.patches.near}  # tiny images have nine equal ones
    lost = [float((patch - derain(Image(patch), ProgressToken()).pixels).mean()) for patch in patches.values()]
    return max(0.0, 255 * sum(lost) / len(lost))


def _logit(chance: float) -> float:
    chance = min(max(chance, 1e-6), 1 - 1e-6)
    return math.log(chance / (1 - chance))
