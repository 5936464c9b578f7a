"""Test an expert on a photo: whether it runs, its time and its fidelity."""

from __future__ import annotations

import time

from pydantic import BaseModel, Field

from imaging.convert import from_numpy, to_float
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from iqa.consistency import consistency
from iqa.metrics.psnr import psnr
from toolbox.expert import Expert, run_expert
from toolbox.tasks import Task

SIDE, FACE_SIDE = 256, 512
LEAST_CONSISTENCY = 0.5


class Trial(BaseModel):
    """The result of a test."""

    megapixels: float = Field(description="Size of the input.")
    seconds: float
    psnr: float = Field(
        description="dB to the clean photo: the target of super-resolution, or the input of every other task."
    )
    consistency: float = Field(description="0..1: consistency of the result with the input.")
    warnings: list[str]


def try_expert(expert: Expert) -> Trial:
    """Run an expert on a clean photo, downscaled for super-resolution. Raises `ExpertError` if it fails."""
    card = expert.card
    wanted = _photo(FACE_SIDE if card.task is Task.FACE_RESTORATION else SIDE)
    side = wanted.width // card.scale
    given = Image(resize(wanted.pixels, side, side))
    started = time.perf_counter()
    result = run_expert(expert, given, ProgressToken())
    seconds = time.perf_counter() - started
    faithful = consistency(card.task, given, result)
    warnings = []
    if faithful < LEAST_CONSISTENCY:
        warnings.append(
            f"consistency with the input is only {faithful:.2f}: wrong task, or wrong value range "
            "(value_range in its card)? Q-MoE is unlikely to choose it"
        )
    megapixels, fidelity = side * side / 1e6, psnr(result, wanted)
    return Trial(megapixels=megapixels, seconds=seconds, psnr=fidelity, consistency=faithful, warnings=warnings)


def _photo(side: int) -> Image:
    import skimage.data

    whole = Image(from_numpy(to_float(skimage.data.astronaut())))
    return Image(resize(whole.pixels, side, side))
