"""What experts make of degraded photographs, measured without and with the true picture, for the quality score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from imaging.control import Control
from imaging.convert import FloatArray, from_numpy, to_float, to_uint8
from imaging.image import Image
from iqa.consistency import consistency
from iqa.crops import CROP, crops_of
from iqa.metrics.psnr import psnr
from iqa.metrics.ssim_y import ssim_y
from iqa.seen import Seen, enlarged, see
from toolbox.errors import ExpertError, WeightsError
from toolbox.expert import run_expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Degradation, Task
from training.degradations import degrade, downscale, mix
from training.perceived import draw_kinds, single_threaded
from training.photos import read_pixels

Combinations = Sequence[tuple[Degradation, ...]]
SUPER_RESOLVED = 0.2
ENLARGED = (2, 4)
KEPT = "keep_input"
HALF_RESTORED = "half_restored"
"""Halfway from the degraded picture to the true one; no expert made it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One candidate of one step: what is seen without its reference, and the truth."""

    group: int
    """The step; candidates of one step are compared with each other."""
    task: Task
    name: str
    seen: Seen
    before: Seen
    """The input of the step, its pieces as large as the candidate's."""
    consistency: float
    psnr_db: float
    ssim: float

    @property
    def truth(self) -> float:
        """See `truth_of`."""
        return truth_of(self.psnr_db, self.ssim)


def truth_of(psnr_db: float, ssim: float) -> float:
    """How near a result is to its reference: mean of SSIM (Y) and of PSNR (RGB) taken from 10 to 40 dB, in [0, 1]."""
    return (max(0.0, ssim) + min(1.0, max(0.0, (psnr_db - 10) / 30))) / 2


def judged(
    paths: Iterable[Path], seed: int, workers: int, combinations: Combinations | None = None
) -> Iterator[list[Judged]]:
    """The candidates of one step per path; of the `combinations` in turn, or of what is drawn."""
    jobs = [
        (path, seed, index, combinations[index % len(combinations)] if combinations else None)
        for index, path in enumerate(paths)
    ]
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        yield from pool.imap(_judge, jobs, chunksize=4)


def _judge(job: tuple[Path, int, int, tuple[Degradation, ...] | None]) -> list[Judged]:
    path, seed, index, combination = job
    rng = np.random.default_rng([seed, index])
    clean = _patch(read_pixels(path), rng)
    reference = Image(from_numpy(clean))
    if not combination and rng.random() < SUPER_RESOLVED:
        task, scale = Task.SUPER_RESOLUTION, int(rng.choice(ENLARGED))
        small = downscale(clean, scale)
        if rng.random() < 0.3:
            small, _ = degrade(small, Degradation.NOISE, rng)
        image = _stored(small)
        found = list(_candidates(image, task, scale))
    else:
        kinds = [kind for kind in combination or draw_kinds(rng) if kind is not Degradation.LOW_RESOLUTION]
        kinds = kinds or [Degradation.NOISE]
        degraded, _ = mix(clean, kinds, rng)
        image, scale = _stored(degraded), 1
        task = kinds[int(rng.integers(len(kinds)))].task
        found = [(KEPT, image), *_candidates(image, task, 1)]
        found.append((HALF_RESTORED, Image((image.pixels + reference.pixels) / 2)))
    crops = crops_of(image)
    before = enlarged(see(image, crops), image, crops, scale)
    return [
        Judged(
            index,
            task,
            name,
            see(result, crops),
            before,
            consistency(task, image, result),
            psnr(result, reference),
            ssim_y(result, reference),
        )
        for name, result in found
    ]


def _candidates(image: Image, task: Task, scale: int) -> Iterator[tuple[str, Image]]:
    for card in _pool().runnable(task, scale):
        try:
            yield card.name, run_expert(_pool().get(card.name), image, Control())
        except (ExpertError, WeightsError):
            continue


@cache
def _pool() -> ExpertPool:
    return ExpertPool()


def _patch(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A random square of at most 288 pixels, its side a multiple of 4."""
    side = min(CROP, min(pixels.shape[:2])) // 4 * 4
    top, left = (int(rng.integers(size - side + 1)) for size in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def _stored(pixels: FloatArray) -> Image:
    return Image(from_numpy(to_float(to_uint8(pixels))))
