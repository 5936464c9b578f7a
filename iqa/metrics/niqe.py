"""Naturalness without a reference: NIQE with our own model of good photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iqa.luma import luma
from iqa.metric import Metric
from iqa.niqe import niqe_of

if TYPE_CHECKING:
    from imaging.image import Image

WORST = 100.0


def niqe(image: Image) -> float:
    """NIQE of the whole picture in [0, 100], lower is better; good photographs lie below 4, flat areas at 100.

    Raises `ImageTooSmall` below 32 pixels.
    """
    return min(WORST, niqe_of([luma(image)]))


METRIC = Metric(
    name="niqe",
    higher_is_better=False,
    range=(0.0, WORST),
    reference="none",
    about="How far local statistics are from those of good photographs; noise, blur and artefacts raise it.",
    measure=niqe,
)
