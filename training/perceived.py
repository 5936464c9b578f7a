"""Photographs as they come to the estimator: clean, with one thing wrong, or with several; with the truth."""

from __future__ import annotations

from collections.abc import Iterable
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from imaging.convert import FloatArray, from_numpy, to_float, to_uint8
from imaging.image import Image
from iqa.evidence.measure import measure_evidence
from iqa.evidence.view import view_of
from toolbox.tasks import Degradation, Severity
from training.degradations import MIO100, jpeg, mix
from training.photos import read_pixels

ORDER = (
    Degradation.DARK,
    Degradation.HAZE,
    Degradation.RAIN,
    Degradation.MOTION_BLUR,
    Degradation.DEFOCUS_BLUR,
    Degradation.LOW_RESOLUTION,
    Degradation.NOISE,
    Degradation.JPEG_ARTIFACT,
)
"""As the world adds them: the scene, then imaging, then storage."""
CLEAN, SINGLE, MIO = 0.25, 0.3, 0.25
"""Shares of untouched photos, of single degradations and of MiO100's combinations; the rest are others."""
KEPT_AS_JPEG = 0.35
"""Share of pictures that are stored as a good JPEG at the end, which is no degradation."""


def need(applied: Severity) -> Severity:
    """How much a degradation of the synthesiser calls for its task.

    One level more than it says of itself: its VERY_LOW is there, though barely (LOW), and its LOW, in which
    MiO100's mildest fall (noise of sigma 20, JPEG of quality 40), is worth a task (MEDIUM).
    """
    return Severity(min(applied + 1, Severity.VERY_HIGH))


def draw(pixels: FloatArray, rng: np.random.Generator) -> tuple[Image, dict[Degradation, Severity]]:
    """A photo (H, W, 3), degraded at random and rounded to 8 bits, and the severity that was applied of each.

    A degradation that is not named was not applied.
    """
    if rng.random() < 1 / 3:
        share = 1 / rng.uniform(1, 1.8)
        height, width = (max(32, round(size * share)) for size in pixels.shape[:2])
        pixels = _shrunk(pixels, height, width)
    kinds = draw_kinds(rng)
    degraded, applied = mix(pixels, kinds, rng, [Severity(int(level)) for level in rng.integers(0, 5, len(kinds))])
    if Degradation.JPEG_ARTIFACT not in kinds and rng.random() < KEPT_AS_JPEG:
        degraded = jpeg(degraded, int(rng.integers(86, 98)))
    stored = to_float(to_uint8(degraded))
    return Image(from_numpy(stored)), {one.degradation: one.severity for one in applied}


def samples(
    paths: Iterable[Path], seed: int, workers: int
) -> tuple[list[dict[str, float]], list[dict[Degradation, Severity]]]:
    """The evidence and the truth of one `draw` per path."""
    jobs = [(path, seed, index) for index, path in enumerate(paths)]
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        drawn = pool.map(_sample, jobs, chunksize=16)
    return [evidence for evidence, _ in drawn], [truth for _, truth in drawn]


def _sample(job: tuple[Path, int, int]) -> tuple[dict[str, float], dict[Degradation, Severity]]:
    path, seed, index = job
    image, truth = draw(read_pixels(path), np.random.default_rng([seed, index]))
    return measure_evidence(view_of(image)), truth


def single_threaded() -> None:
    """Keep one worker of many from using every core."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def draw_kinds(rng: np.random.Generator) -> list[Degradation]:
    """What is wrong with the next picture, in the order in which it happens; often nothing."""
    chance = rng.random()
    if chance < CLEAN:
        return []
    if chance < CLEAN + SINGLE:
        return [ORDER[int(rng.integers(len(ORDER)))]]
    if chance < CLEAN + SINGLE + MIO:
        return list(MIO100[int(rng.integers(len(MIO100)))])
    chosen = set(rng.choice(len(ORDER), size=int(rng.integers(2, 4)), replace=False).tolist())
    return [kind for index, kind in enumerate(ORDER) if index in chosen]


def _shrunk(pixels: FloatArray, height: int, width: int) -> FloatArray:
    import cv2

    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.float32)
