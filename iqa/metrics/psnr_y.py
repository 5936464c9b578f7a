"""Peak signal-to-noise ratio of luma, as super-resolution papers report it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iqa.luma import require_same_size, studio_luma
from iqa.metric import Metric
from iqa.metrics.psnr import IDENTICAL_DB, psnr_of

if TYPE_CHECKING:
    from imaging.image import Image


def psnr_y(image: Image, reference: Image, *, crop: int = 0) -> float:
    """PSNR in dB of BT.601 studio-range Y with peak 1, `crop` border pixels left out (by convention the scale).

    Raises `SizesDiffer`, `ImageTooSmall`.
    """
    require_same_size(image, reference)
    return psnr_of(studio_luma(image), studio_luma(reference), crop)


METRIC = Metric(
    name="psnr_y",
    higher_is_better=True,
    range=(0.0, IDENTICAL_DB),
    reference="full",
    about="Peak signal-to-noise ratio of luma in dB, as super-resolution papers report it.",
    measure=psnr_y,
)
