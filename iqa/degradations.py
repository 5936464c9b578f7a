"""The degradation estimator: what is wrong with a picture, how badly, where, and on what evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iqa.pieces import COUNT
from iqa.rain import THUMBNAIL_PX, second_look
from iqa.seen import Seen, see
from iqa.sighting import estimator, sighting
from toolbox.tasks import Degradation, Severity

if TYPE_CHECKING:
    from imaging.image import Image

SMALL_PX = (1000, 400, 260, 140)
"""Long sides below which resolution is low by one more level; 4KAgent takes 300 as small."""
OCTAVES_PER_LEVEL = 0.5
"""A picture that is enlarged by 2 has risen by two levels of the network's."""
QUANTISATION_OF_Q50 = (0.5, 1.0, 1.38, 1.95)
"""Steps of JPEG, relative to quality 50, from which it is worse by one more level: qualities 75, 50, 36 and 26."""
EVEN = {Degradation.DARK: 0.25, Degradation.HAZE: 0.06}
"""Range of luminance (the 5th to the 99th percentile, of 1) below which a picture is a wall, or a sky: that it is no
brighter, or has no contrast, says nothing of the light. Of hazy photos one in a hundred has less.
"""
DIM = 0.4
"""Mean luminance up to which even such a picture may be dark."""
NAMED: Mapping[Degradation, tuple[str, ...]] = {
    Degradation.NOISE: ("noise_luma_1px_flat_sigma_255", "noise_chroma_1px_flat_sigma_255", "spectrum_floor_db"),
    Degradation.JPEG_ARTIFACT: ("quantisation_of_q50", "grid_excess", "zero_excess", "regrid_log", "regrid_px"),
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
    evidence: Mapping[str, float]
    """Measured numbers, by names that end in their unit."""
    where: tuple[float, ...]
    """The level in each cell of a 3x3 grid, row by row, as its piece shows it; empty where there is no such thing."""


def estimate_degradations(image: Image) -> dict[Degradation, Estimate]:
    """Noise, blurs, haze, rain, darkness, compression and low resolution, all of them always answered.

    By a network that looks at nine pieces and at the whole in small, beside measured evidence, trained on synthesised
    degradations (`python -m training.fit_estimator`). Takes about 0.15 s at any size.
    """
    return estimates_from(see(image))


def estimates_from(seen: Seen) -> dict[Degradation, Estimate]:
    """The same of a picture that has been looked at already."""
    shipped, evidence, pieces = estimator(), seen.evidence, seen.pieces
    found = sighting(seen)
    whole, levels = found.whole.sigmoid(), found.local.sigmoid().sum(2)
    estimates: dict[Degradation, Estimate] = {}
    for index, name in enumerate(shipped.outputs):
        reached = whole[index].tolist()
        kind = Degradation(name)
        if kind is Degradation.LOW_RESOLUTION:
            estimates[kind] = _resolution(evidence["long_side_px"], sum(reached))
        else:
            grid = _grid(pieces.cells, levels[:, index].tolist())
            if kind is Degradation.RAIN and evidence["long_side_px"] < THUMBNAIL_PX:
                reached = second_look(reached, pieces)
            if not _tones_tell(kind, evidence):
                reached = [0.0] * len(reached)
            estimates[kind] = _estimate(
                reached, shipped.least[index], {name: evidence[name] for name in NAMED[kind]}, grid
            )
    return estimates


def _tones_tell(kind: Degradation, evidence: Mapping[str, float]) -> bool:
    """Whether tones can tell of this degradation in such a picture."""
    spread = evidence["luminance_percentile_99"] - evidence["luminance_percentile_5"]
    dim = kind is Degradation.DARK and evidence["luminance_mean"] <= DIM
    return dim or spread >= EVEN.get(kind, 0.0)


def low_resolution(resolved_px: float) -> Severity:
    """How low the resolution of a picture is whose long side shows that many pixels."""
    return Severity(sum(resolved_px < limit for limit in SMALL_PX))


def compressed(quantisation_of_q50: float) -> Severity:
    """How badly a picture is compressed whose JPEG has such steps, as the synthesiser would call it."""
    return Severity(sum(quantisation_of_q50 > limit for limit in QUANTISATION_OF_Q50))


def _estimate(
    reached: list[float], least: float, evidence: Mapping[str, float], where: tuple[float, ...]
) -> Estimate:
    severity = Severity(sum(chance > least for chance in reached))
    needed = reached[Severity.MEDIUM - 1]
    confidence = needed if severity >= Severity.MEDIUM else 1 - needed
    return Estimate(severity, confidence, sum(reached), evidence, where)


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
