"""Fit the check of thumbnails for rain (`iqa.degradations.recheck_rain`).

    python -m training.fits.rain --data DATA [--samples 800]

Held-out photos are reduced to thumbnails, some with rain, and some with another degradation. Writes iqa/rain.toml,
and prints the rate of detections and of false alarms on other held-out photos.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imaging.convert import from_numpy, to_float, to_uint8
from imaging.image import Image
from iqa.degradation_net import degradation_net
from iqa.degradations import FAINT, THUMBNAIL_PX, removed_rain_255
from iqa.features import extract_features
from toolbox.tasks import Degradation, Severity
from training.data.degradation_sampling import ORDER, single_threaded
from training.data.degradations import degrade, resized
from training.data.photos import for_weights, held_out, photos, read_pixels
from training.fits.logistic import logistic

RAINY, SUFFERING = 0.25, 0.3
"""Shares of thumbnails with rain, and of those with another degradation."""
SIDES, FACTORS = (64, THUMBNAIL_PX), (1, 4)
"""Ranges of the long sides of thumbnails in pixels, and of the factors by which the image with rain was larger."""
CO_DEGRADATIONS = tuple(kind for kind in ORDER if kind not in (Degradation.RAIN, Degradation.LOW_RESOLUTION))

Matrix = NDArray[np.float64]


def sample(job: tuple[Path, int]) -> tuple[list[float], bool]:
    """The inputs of `recheck_rain` (logit of the estimator, log of removed brightness), and whether there is rain."""
    path, number = job
    rng = np.random.default_rng([8, number])
    pixels = read_pixels(path)
    height, width = pixels.shape[:2]
    small = min(1.0, math.exp(rng.uniform(*np.log(SIDES))) / max(height, width))
    before = min(1.0, small * rng.uniform(*FACTORS))
    pixels = resized(pixels, rng, round(height * before), round(width * before))
    if rainy := bool(rng.random() < RAINY):
        severity = Severity(int(rng.integers(Severity.LOW, Severity.VERY_HIGH + 1)))
        pixels, _ = degrade(np.clip(pixels, 0, 1), Degradation.RAIN, rng, severity)
    pixels = np.clip(resized(pixels, rng, round(height * small), round(width * small)), 0, 1)
    if rng.random() < SUFFERING:
        severity = Severity(int(rng.integers(Severity.LOW, Severity.HIGH + 1)))
        pixels, _ = degrade(pixels, CO_DEGRADATIONS[int(rng.integers(len(CO_DEGRADATIONS)))], rng, severity)
    features = extract_features(Image(from_numpy(to_float(to_uint8(pixels)))))
    levels = features.network_output.whole[degradation_net(None).outputs.index(Degradation.RAIN.value)]
    return [float(levels[Severity.MEDIUM - 1]), math.log(removed_rain_255(features) + FAINT)], rainy


def _drawn(paths: Sequence[Path], count: int, first: int, workers: int) -> tuple[Matrix, NDArray[np.bool_]]:
    jobs = [(paths[number % len(paths)], first + number) for number in range(count)]
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        rows, rainy = zip(*pool.map(sample, jobs, chunksize=8), strict=True)
    return np.column_stack([np.array(rows), np.ones(count)]), np.array(rainy)


def main() -> None:
    """Draw, fit, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=800)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("iqa/rain.toml"))
    arguments = parser.parse_args()
    every = photos(arguments.data)
    unseen, others = (
        [path for path in every if held_out(path) and for_weights(path) is own] for own in (True, False)
    )
    weights = logistic(*_drawn(unseen, arguments.samples, 0, arguments.workers), np.zeros(3))
    rows, rainy = _drawn(others, arguments.samples // 2, arguments.samples, arguments.workers)
    least = degradation_net(None).least[ORDER.index(Degradation.RAIN)]
    for name, logits in (("estimator", rows[:, 0]), ("with the check", rows @ weights)):
        called = logits > math.log(least / (1 - least))
        print(f"{name}: detected {called[rainy].mean():.2f}, false alarms {called[~rainy].mean():.3f}")
    table = zip(("chance", "removed", "constant"), weights, strict=True)
    lines = [f"{name} = {weight:.3f}" for name, weight in table]
    arguments.output.write_text("# Written by: python -m training.fits.rain\n" + "\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
