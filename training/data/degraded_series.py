"""Datasets of series: several degraded versions of one photo with their true fidelity, from which the quality network
learns about images that no expert has processed. Many can be made, because they need no expert runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imaging.convert import FloatArray, from_numpy, to_float, to_uint8
from imaging.image import Image
from iqa.features import ImageFeatures, extract_features
from iqa.metrics.psnr import psnr
from iqa.metrics.ssim import ssim_y
from iqa.patches import COUNT, SIDE, Patches
from toolbox.tasks import Degradation
from training.data.candidate_dataset import Bytes, truth_of
from training.data.degradation_sampling import draw_kinds, single_threaded
from training.data.degradations import MIO100, mix
from training.data.photos import read_pixels
from training.data.stored_rows import handcrafted_of

LENGTH = 4
"""Versions of one photo."""
LARGEST = 448
"""Side in pixels to which photos are cropped."""
OF_MIO100 = 0.5
"""Share of versions with one of MiO100's combinations of degradations."""

Row = dict[str, Any]
"""`psnr_db` and `ssim` to the photo, `truth` (see `training.data.candidate_dataset.truth_of`), and `handcrafted`."""


def degraded(pixels: FloatArray, rng: np.random.Generator) -> tuple[Image, float, float]:
    """A photo (H, W, 3) with one to three degradations, in 8 bits, and its PSNR (RGB) and SSIM (Y) to the photo."""
    several = MIO100[int(rng.integers(len(MIO100)))] if rng.random() < OF_MIO100 else draw_kinds(rng)
    kinds = [kind for kind in several if kind is not Degradation.LOW_RESOLUTION]
    picture, clean = Image(from_numpy(to_float(to_uint8(mix(pixels, kinds, rng)[0])))), Image(from_numpy(pixels))
    return picture, psnr(picture, clean), ssim_y(picture, clean)


def draw(paths: Sequence[Path], seed: int, workers: int, folder: Path) -> None:
    """Write one series per path to looks.npy (series, LENGTH, 10, 3, 96, 96) and rows.json, unless they exist."""
    if (folder / "rows.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(paths), LENGTH, COUNT + 1, 3, SIDE, SIDE)
    looks, rows = np.lib.format.open_memmap(folder / "looks.npy", "w+", np.uint8, shape), list[list[Row]]()
    jobs = [(path, seed, index) for index, path in enumerate(paths)]
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        for index, (pixels, of_one) in enumerate(pool.imap(_series, jobs, chunksize=8)):
            looks[index] = pixels
            rows.append(of_one)
            if (index + 1) % 200 == 0:
                print(f"{index + 1} series of {len(paths)}", flush=True)
    looks.flush()
    (folder / "rows.json").write_text(json.dumps(rows))


def features_in(folder: Path) -> Iterator[tuple[ImageFeatures, Row]]:
    """The features and the row of every version that `draw` has written."""
    looks, rows = np.load(folder / "looks.npy", mmap_mode="r"), json.loads((folder / "rows.json").read_text())
    for pixels, of_one in zip(looks, rows, strict=True):
        for each, row in zip(torch.from_numpy(np.array(pixels)).float() / 255, of_one, strict=True):
            yield ImageFeatures(handcrafted_of(row), Patches(each[:COUNT], each[COUNT], ()), ()), row


def _series(job: tuple[Path, int, int]) -> tuple[Bytes, list[Row]]:
    path, seed, index = job
    rng = np.random.default_rng([seed, index])
    clean = read_pixels(path)[:LARGEST, :LARGEST]
    looks, rows = list[Bytes](), list[Row]()
    for _ in range(LENGTH):
        picture, psnr_db, ssim = degraded(clean, rng)
        features = extract_features(picture)
        patches = torch.cat([features.patches.near, features.patches.whole[None]])
        looks.append(np.asarray((patches * 255).round().byte()))
        measured = {"truth": truth_of(psnr_db, ssim), "psnr_db": psnr_db, "ssim": ssim}
        rows.append({**measured, "handcrafted": dict(features.handcrafted)})
    return np.stack(looks), rows
