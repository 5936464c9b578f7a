"""Photographs as they come to the estimator: clean, with one thing wrong, or with several; with the truth."""

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
"""As the world adds them: the scene, then imaging, then storage."""
CLEAN = 0.5
"""Share of untouched photos."""
SINGLE, MIO = 0.4, 0.35
"""Shares of single degradations and of MiO100's combinations among the others; the rest are other mixtures."""
OF_MIO100 = 0.5
"""Share of MiO100's combinations where a degradation is given."""
REDUCED, SMALL = 1 / 3, 1 / 6
"""Shares of pictures that are made a little smaller before anything else, and so small that they are thumbnails."""
SMALL_PX = 96, 300
"""Long sides of thumbnails."""
RESIZED, FACTORS = 0.5, (0.5, 1.5)
"""Share of compressed pictures whose size was changed afterwards, as on the web, and by what factor."""
WEAKER_BELOW = 0.7
"""Reduced by that much, compression shows one level less."""
KEPT_AS_JPEG = 0.35
"""Share of pictures that are stored as a good JPEG at the end, which is no degradation."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What was done to a picture."""

    applied: Mapping[Degradation, Severity]
    """What was applied, as the synthesiser calls it."""
    needs: Mapping[Degradation, Severity]
    """How much each calls for its task; low resolution, which a picture can have by nature, is always named."""
    enlarged: float
    """By what factor the picture was enlarged after it had been reduced."""
    from_the_web: bool = False
    """Whether it is a thumbnail, or was brought to another size after it had been compressed."""


def need(applied: Severity) -> Severity:
    """How much a degradation of the synthesiser calls for its task.

    One level more than it says of itself: its VERY_LOW is there, though barely (LOW), and its LOW, in which
    MiO100's mildest fall (noise of sigma 20, JPEG of quality 40), is worth a task (MEDIUM).
    """
    return Severity(min(applied + 1, Severity.VERY_HIGH))


def draw(pixels: FloatArray, rng: np.random.Generator) -> tuple[Image, Truth]:
    """A photo (H, W, 3), degraded at random and rounded to 8 bits, and the truth about it.

    Half of those of low resolution are enlarged again, as they lie on the web; whatever else befalls them is then
    as fine as the new pixels. Thumbnails are not reduced once more.
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
    """What `look` sees in one `draw` per path, and the truth, in the order of the paths."""
    jobs = [(path, seed, index, look) for index, path in enumerate(paths)]
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        yield from pool.imap(_sample, jobs, chunksize=16)


def _sample(job: tuple[Path, int, int, Callable[[Image], Shown]]) -> tuple[Shown, Truth]:
    path, seed, index, look = job
    image, truth = draw(read_pixels(path), np.random.default_rng([seed, index]))
    return look(image), truth


def single_threaded() -> None:
    """Keep one worker of many from using every core."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def draw_kinds(rng: np.random.Generator) -> list[Degradation]:
    """What is wrong with the next picture, in the order in which it happens."""
    chance = rng.random()
    if chance < SINGLE:
        return [ORDER[int(rng.integers(len(ORDER)))]]
    if chance < SINGLE + MIO:
        return list(MIO100[int(rng.integers(len(MIO100)))])
    chosen = set(rng.choice(len(ORDER), size=int(rng.integers(2, 4)), replace=False).tolist())
    return [kind for index, kind in enumerate(ORDER) if index in chosen]


def draw_kinds_with(kind: Degradation, rng: np.random.Generator) -> list[Degradation]:
    """What is wrong with a picture in which `kind` is; what would make it smaller is left out."""
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
    """In another size, sometimes stored as a good JPEG once more; and by what factor."""
    factor = math.exp(rng.uniform(*np.log(FACTORS)))
    height, width = (max(32, round(side * factor)) for side in pixels.shape[:2])
    pixels = resized(pixels, rng, height, width)
    return (jpeg(pixels, int(rng.integers(86, 98))) if rng.random() < KEPT_AS_JPEG else pixels), factor
