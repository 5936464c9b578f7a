"""Train the prediction of fidelity without a reference (iqa/no_reference_fidelity.py).

    python -m training.fits.no_reference_fidelity --data DATA --looks FOLDER [--series 1200] [--steps 6000]

FOLDER is that of training.fits.quality; all candidates of its steps are used. The other training images are series
that no expert has processed (training/data/degraded_series.py), and the photos without degradation. Held-out photos
are not used; `python -m benchmarks.perception` evaluates on them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from imaging.convert import from_numpy
from imaging.image import Image
from iqa.features import ImageFeatures, extract_features
from iqa.no_reference_fidelity import row_of, standard
from training.data import degraded_series
from training.data.candidate_dataset import psnr_share, steps_in
from training.data.photos import held_out, photos, read_pixels
from training.fits.degradation_net import draw_paths
from training.fits.perceptron import fit, state_of
from training.fits.quality import SERIES

Numbers = NDArray[np.float32]
Known = tuple[ImageFeatures, float, float]
"""Features of an image, and its SSIM and PSNR to the original."""
BATCH, DROPPED = 256, 0.1
LEAST_SPREAD = 1e-3


def results(folder: Path) -> Iterator[Known]:
    """Every candidate of the steps in the folder."""
    for step in steps_in(folder):
        for one in step:
            yield one.features, one.ssim, one.psnr_db


def untouched(folder: Path) -> Iterator[Known]:
    """Every image of the series in the folder."""
    for features, row in degraded_series.features_in(folder / SERIES):
        yield features, row["ssim"], row["psnr_db"]


def clean(data: Path) -> Iterator[Known]:
    """Every photo without degradation."""
    for path in photos(data):
        if not held_out(path):
            pixels = read_pixels(path)[: degraded_series.LARGEST, : degraded_series.LARGEST]
            yield extract_features(Image(from_numpy(pixels))), 1.0, math.inf


def table_of(pictures: Iterable[Known]) -> tuple[Numbers, Numbers, tuple[str, ...]]:
    """Inputs of the perceptron (n, k), its targets (n, 2), and the names of the handcrafted features."""
    rows, truth, names = list[Numbers](), list[tuple[float, float]](), tuple[str, ...]()
    for features, ssim, psnr_db in pictures:
        names = names or tuple(features.handcrafted)
        rows.append(row_of(features, names))
        truth.append((max(0.0, ssim), psnr_share(psnr_db)))
    return np.array(rows), np.array(truth, np.float32), names


def train(rows: Numbers, truth: Numbers, steps: int, seed: int) -> tuple[nn.Module, Numbers, Numbers]:
    """Train the perceptron, and return it with the mean and standard deviation of its inputs."""
    centre, spread = rows.mean(0), rows.std(0) + np.float32(LEAST_SPREAD)
    samples = [torch.from_numpy(part)[:, None] for part in (standard(rows, centre, spread), truth)]

    def answer(network: nn.Module, parts: Sequence[Tensor]) -> Tensor:
        answered: Tensor = network(parts[0])
        return answered

    return fit(samples, truth.shape[1], answer, steps, BATCH, seed, DROPPED), centre, spread


def main() -> None:
    """Draw missing data, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--looks", type=Path, required=True)
    parser.add_argument("--series", type=int, default=1200, help="number of series that no expert has processed")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("iqa/no_reference_fidelity.safetensors"))
    arguments = parser.parse_args()
    paths = draw_paths(arguments.data, arguments.series, arguments.seed)
    degraded_series.draw(paths, arguments.seed, arguments.workers, arguments.looks / SERIES)
    known = chain(untouched(arguments.looks), results(arguments.looks), clean(arguments.data))
    rows, truth, names = table_of(known)
    network, centre, spread = train(rows, truth, arguments.steps, arguments.seed)
    state = {"centre": torch.from_numpy(centre), "spread": torch.from_numpy(spread), **state_of(network)}
    save_file(state, arguments.output, metadata={"names": json.dumps(names)})
    print(f"{len(rows)} images")


if __name__ == "__main__":
    main()
