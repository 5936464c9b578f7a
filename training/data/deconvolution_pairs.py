"""Training pairs for a network that refines the result of classical deconvolution, whose kernel is estimated from a
whole region of a photo. A region takes half a second, so the regions are made once and kept.
"""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from imaging.atomic import atomic_write
from imaging.convert import from_numpy, to_float, to_numpy, to_uint8
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.catalogue import default_catalogue
from toolbox.expert import load_expert
from toolbox.tasks import Degradation, Severity
from training.data.degradations import degrade
from training.data.loading import Bytes, Pair, central_patch, random_patch
from training.data.measure import SIDE as MEASURED_SIDE
from training.data.measure import Row
from training.recipe import Recipe

SIDE = 320
"""Side of the regions in pixels; smaller ones are too small to estimate a blur."""
BEYOND = 32
"""Border in pixels that is blurred into the region and then cut off, as at the frame of a camera."""
STORED = ((0.3, Degradation.JPEG_ARTIFACT, Severity.MEDIUM), (0.25, Degradation.NOISE, Severity.LOW))
"""Further degradations of the blurred region, with their probability and largest severity."""

FRAME = slice(BEYOND, BEYOND + SIDE)
BLURRED, DECONVOLVED, TARGET = slice(0, 3), slice(3, 6), slice(6, 9)
"""Channels of a region."""


def deconvolution_patches(photos: list[Bytes], recipe: Recipe, cache: Path, count: int) -> list[Bytes]:
    """`count` regions of (SIDE, SIDE, 9) bytes: blurred, deconvolved by the classical expert, and original.

    Deterministic for the same photos and recipe. Made once, in a file in `cache`, which is memory-mapped.
    """
    about = f"{sorted(recipe.preprocessor.items())} {recipe.seed} {count} {[photo.shape for photo in photos]}"
    file = cache / f"deconvolution-{zlib.crc32(about.encode()):08x}.npy"
    if not file.exists():
        with atomic_write(file) as temporary:
            _make_patches(
                photos, recipe, np.lib.format.open_memmap(temporary, "w+", np.uint8, (count, SIDE, SIDE, 9))
            )
    return list(np.load(file, mmap_mode="r"))


def _make_patches(photos: list[Bytes], recipe: Recipe, regions: np.memmap[Any, np.dtype[np.uint8]]) -> None:
    def make(number: int) -> None:
        regions[number] = deconvolution_patch(photos, recipe, number)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(make, range(len(regions))):
            pass
    regions.flush()


def deconvolution_pair(region: Bytes, rng: np.random.Generator) -> Pair:
    """The input and the target of the network."""
    return to_float(region[..., DECONVOLVED]), to_float(region[..., TARGET])


def deconvolution_rows(regions: list[Bytes], recipe: Recipe) -> dict[str, list[Row]]:
    """The central patch of each region, by degradation."""
    rows: dict[str, list[Row]] = {kind.value: [] for kind in recipe.preprocessor}
    for number, region in enumerate(regions):
        patch = to_float(central_patch(region, MEASURED_SIDE))
        rows[_degradation(recipe, number).value].append(
            Row(patch[..., BLURRED], patch[..., DECONVOLVED], patch[..., TARGET])
        )
    return rows


def deconvolution_patch(photos: list[Bytes], recipe: Recipe, number: int) -> Bytes:
    """The region of that number, (SIDE, SIDE, 9)."""
    rng = np.random.default_rng([recipe.seed, number])
    whole = random_patch(photos[int(rng.integers(len(photos)))], SIDE + 2 * BEYOND, rng)
    kind = _degradation(recipe, number)
    blurred, _ = degrade(to_float(whole), kind, rng)
    blurred, target = np.ascontiguousarray(blurred[FRAME, FRAME]), np.ascontiguousarray(whole[FRAME, FRAME])
    for chance, also, worst in STORED:
        if rng.random() < chance:
            blurred, _ = degrade(blurred, also, rng, Severity(int(rng.integers(worst + 1))))
    stored = to_uint8(blurred)
    first = load_expert(default_catalogue().card(recipe.preprocessor[kind]))
    deconvolved = first(Image(from_numpy(to_float(stored))), ProgressToken())
    return np.concatenate([stored, to_uint8(to_numpy(deconvolved.pixels)), target], axis=2)


def _degradation(recipe: Recipe, number: int) -> Degradation:
    """The degradation of a region; they take turns."""
    return list(recipe.preprocessor)[number % len(recipe.preprocessor)]
