"""What experts make of degraded photographs, measured without and with the true picture, for the quality score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from imaging.control import Control
from imaging.convert import FloatArray, from_numpy, to_float, to_uint8
from imaging.image import Image
from iqa.crops import CROP
from iqa.evidence.measure import measure_evidence
from iqa.evidence.view import view_of
from iqa.metrics.psnr import psnr
from iqa.metrics.ssim_y import ssim_y
from iqa.niqe import niqe_of
from toolbox.catalogue import default_catalogue
from toolbox.errors import ExpertError, WeightsError
from toolbox.expert import Expert, load_expert, run_expert
from toolbox.tasks import Degradation, Task
from training.degradations import degrade, downscale, mix
from training.perceived import draw_kinds, single_threaded
from training.photos import read_pixels

SUPER_RESOLVED = 0.2
ENLARGED = (2, 4)
KEPT = "keep_input"
HALF_RESTORED = "half_restored"
"""Halfway from the degraded picture to the true one; no expert made it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One candidate of one step: what is measured without its reference, and the truth."""

    group: int
    """The step; candidates of one step are compared with each other."""
    name: str
    measured: dict[str, float]
    psnr_db: float
    ssim: float

    @property
    def truth(self) -> float:
        """Mean of SSIM (Y) and of PSNR (RGB) taken from 10 to 40 dB, in [0, 1]."""
        return (max(0.0, self.ssim) + min(1.0, max(0.0, (self.psnr_db - 10) / 30))) / 2


def judged(paths: Iterable[Path], seed: int, workers: int) -> list[Judged]:
    """Every candidate of one step per path."""
    jobs = [(path, seed, index) for index, path in enumerate(paths)]
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        return [one for group in pool.map(_judge, jobs, chunksize=8) for one in group]


def _judge(job: tuple[Path, int, int]) -> list[Judged]:
    path, seed, index = job
    rng = np.random.default_rng([seed, index])
    clean = _patch(read_pixels(path), rng)
    reference = Image(from_numpy(clean))
    if rng.random() < SUPER_RESOLVED:
        scale = int(rng.choice(ENLARGED))
        small = downscale(clean, scale)
        if rng.random() < 0.3:
            small, _ = degrade(small, Degradation.NOISE, rng)
        found = list(_candidates(_stored(small), Task.SUPER_RESOLUTION, scale))
    else:
        kinds = [kind for kind in draw_kinds(rng) if kind is not Degradation.LOW_RESOLUTION] or [Degradation.NOISE]
        degraded, _ = mix(clean, kinds, rng)
        image = _stored(degraded)
        task = kinds[int(rng.integers(len(kinds)))].task
        found = [(KEPT, image), *_candidates(image, task, 1)]
        found.append((HALF_RESTORED, Image((image.pixels + reference.pixels) / 2)))
    return [
        Judged(index, name, _measured(image), psnr(image, reference), ssim_y(image, reference))
        for name, image in found
    ]


def _measured(image: Image) -> dict[str, float]:
    view = view_of(image)
    return measure_evidence(view) | {"niqe": niqe_of([np.rint(luma) for luma in view.lumas])}


def _candidates(image: Image, task: Task, scale: int) -> Iterator[tuple[str, Image]]:
    for card in default_catalogue().for_task(task, scale):
        try:
            yield card.name, run_expert(_expert(card.name), image, Control())
        except (ExpertError, WeightsError):
            continue


@cache
def _expert(name: str) -> Expert:
    return load_expert(default_catalogue().card(name))


def _patch(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A random square of at most 288 pixels, its side a multiple of 4."""
    side = min(CROP, min(pixels.shape[:2])) // 4 * 4
    top, left = (int(rng.integers(size - side + 1)) for size in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def _stored(pixels: FloatArray) -> Image:
    return Image(from_numpy(to_float(to_uint8(pixels))))
