"""Sampling of training images for the estimator: clean, with one degradation, or with several, and their labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np

from imaging.convert import FloatArray, from_numpy, to_float, to_uint8
from imaging.image import Image
from iqa.degradations import low_resolution
from toolbox.tasks import Degradation, Severity
from training.data.degradations import MIO100, degrade, jpeg, resized
from training.data.photos import read_pixels

Shown = TypeVar("Shown")
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
"""The order in which they arise: in the scene, in the camera, in storage."""
CLEAN = 0.5
"""Share of photos without degradations."""
SINGLE, MIO = 0.4, 0.35
"""Among the others, the shares of single degradations and of MiO100's combinations; the rest are other mixtures."""
OF_MIO100 = 0.5
"""Share of MiO100's combinations if one degradation is given."""
REDUCED, SMALL = 1 / 3, 1 / 6
"""Shares of images that are first reduced a little, and of those that are first reduced to thumbnails."""
SMALL_PX = 96, 300
"""Long sides of thumbnails."""
RESIZED, FACTORS = 0.5, (0.5, 1.5)
"""Share of compressed images that are resized afterwards, as on the web, and the range of factors."""
WEAKER_BELOW = 0.7
"""Factor of resizing below which compression is one level less severe."""
KEPT_AS_JPEG = 0.35
"""Share of images that are finally stored as a high-quality JPEG, which is not a degradation."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The labels of an image."""

    applied: Mapping[Degradation, Severity]
    """Severity of each applied degradation, on the scale of the synthesiser."""
    needs: Mapping[Degradation, Severity]
    """Severity on the scale of the estimator (see `need`); always with low resolution."""
    enlarged: float
    """The factor by which the image was enlarged after it had been reduced."""
    from_the_web: bool = False
    """Whether it is a thumbnail, or was resized after compression."""


def need(applied: Severity) -> Severity:
    """Convert a severity of the synthesiser to the scale of the estimator: one level more.

    VERY_LOW of the synthesiser is barely visible (LOW for the estimator). Its LOW includes the mildest degradations
    of MiO100 (noise of sigma 20, JPEG of quality 40), which need a task (MEDIUM).
    """
    return Severity(min(applied + 1, Severity.VERY_HIGH))


def draw(pixels: FloatArray, rng: np.random.Generator) -> tuple[Image, Truth]:
    """Degrade a photo (H, W, 3) at random, round it to 8 bits, and return it with its labels.

    Half of the images of low resolution are enlarged again, as on the web, before the later degradations. Thumbnails
    are not reduced again.
    """
    chance = rng.random()
    is_small = REDUCED <= chance < REDUCED + SMALL
    if chance < REDUCED:
        pixels = _shrunk(pixels, 1 / rng.uniform(1, 1.8))
    elif is_small:
        pixels = _shrunk(pixels, min(1, math.exp(rng.uniform(*np.log(SMALL_PX))) / max(pixels.shape)))
    kinds = [] if rng.random() < CLEAN else draw_kinds(rng)
    if is_small:
        kinds = [kind for kind in kinds if kind is not Degradation.LOW_RESOLUTION]
    applied, enlarged, from_the_web = dict[Degradation, Severity](), 1.0, is_small
    for kind in kinds:
        size = pixels.shape[0], pixels.shape[1]
        pixels, one = degrade(pixels, kind, rng, Severity(int(rng.integers(len(Severity)))))
        applied[kind] = one.severity
        if kind is Degradation.JPEG_ARTIFACT and rng.random() < RESIZED:
            pixels, factor = _sent_on(pixels, rng)
            from_the_web = True
            enlarged *= max(1, factor)
            if factor < WEAKER_BELOW:
                applied[kind] = Severity(max(0, one.severity - 1))
        if kind is Degradation.LOW_RESOLUTION and rng.random() < 0.5:
            enlarged = size[1] / pixels.shape[1]
            pixels = resized(pixels, rng, *size)
    if Degradation.JPEG_ARTIFACT not in kinds and rng.random() < KEPT_AS_JPEG:
        pixels = jpeg(pixels, int(rng.integers(86, 98)))
    image = Image(from_numpy(to_float(to_uint8(pixels))))
    needs = {kind: need(severity) for kind, severity in applied.items()}
    needs[Degradation.LOW_RESOLUTION] = low_resolution(image.long_side / enlarged)
    return image, Truth(applied, needs, enlarged, from_the_web)


def samples(
    paths: Iterable[Path], seed: int, workers: int, look: Callable[[Image], Shown]
) -> Iterator[tuple[Shown, Truth]]:
    """Apply `look` to one `draw` per path; returns the results and labels in the order of the paths."""
    jobs = [(path, seed, index, look) for index, path in enumerate(paths)]
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        yield from pool.imap(_sample, jobs, chunksize=16)


def _sample(job: tuple[Path, int, int, Callable[[Image], Shown]]) -> tuple[Shown, Truth]:
    path, seed, index, look = job
    image, truth = draw(read_pixels(path), np.random.default_rng([seed, index]))
    return look(image), truth


def single_threaded() -> None:
    """Limit a worker process to one thread."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def draw_kinds(rng: np.random.Generator) -> list[Degradation]:
    """Draw the degradations of one image, in the order in which they are applied."""
    chance = rng.random()
    if chance < SINGLE:
        return [ORDER[int(rng.integers(len(ORDER)))]]
    if chance < SINGLE + MIO:
        return list(MIO100[int(rng.integers(len(MIO100)))])
    chosen = set(rng.choice(len(ORDER), size=int(rng.integers(2, 4)), replace=False).tolist())
    return [kind for index, kind in enumerate(ORDER) if index in chosen]


def draw_kinds_with(kind: Degradation, rng: np.random.Generator) -> list[Degradation]:
    """Draw degradations that include `kind`, without low resolution."""
    kinds: list[Degradation] = []
    while kind not in kinds:
        several = MIO100[int(rng.integers(len(MIO100)))] if rng.random() < OF_MIO100 else draw_kinds(rng)
        kinds = [one for one in several if one is not Degradation.LOW_RESOLUTION]
    return kinds


def _shrunk(pixels: FloatArray, share: float) -> FloatArray:
    import cv2

    height, width = (max(32, round(size * share)) for size in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _sent_on(pixels: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, float]:
    """Resize, sometimes with a second, high-quality JPEG compression, and return the factor too."""
    factor = math.exp(rng.uniform(*np.log(FACTORS)))
    height, width = (max(32, round(side * factor)) for side in pixels.shape[:2])
    pixels = resized(pixels, rng, height, width)
    return (jpeg(pixels, int(rng.integers(86, 98))) if rng.random() < KEPT_AS_JPEG else pixels), factor
