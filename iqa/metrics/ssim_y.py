"""Structural similarity of luma, as super-resolution papers report it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iqa.luma import require_same_size, studio_luma
from iqa.metric import Metric
from iqa.metrics.ssim import ssim_of

if TYPE_CHECKING:
    from imaging.image import Image


def ssim_y(image: Image, reference: Image, *, crop: int = 0) -> float:
    """SSIM in [-1, 1] of BT.601 studio-range Y, `crop` border pixels left out (by convention the scale).

    Raises `SizesDiffer`, `ImageTooSmall` below 11 pixels.
    """
    require_same_size(image, reference)
    return ssim_of(studio_luma(image), studio_luma(reference), crop)


METRIC = Metric(
    name="ssim_y",
    higher_is_better=True,
    range=(-1.0, 1.0),
    reference="full",
    about="Structural similarity of luma, as super-resolution papers report it.",
    measure=ssim_y,
)
