"""Train the degradation estimator on synthesised degradations, and write the network that iqa/ ships.

    python -m training.fits.degradation_net --data DATA --looks FOLDER [--samples 14000] [--minutes 30]
    # the perceptron alone
    python -m training.fits.degradation_net --data DATA --looks FOLDER --begin FILE [--steps 8000]

DATA/photo/ holds the photos, one in five of which is held out (see training/data/photos.py); an eighth of the samples
are art, faces, aerial and medical images from the folders beside it. The drawn samples are kept in FOLDER, so that
the training can be repeated without drawing. --begin keeps the convolutions of an existing network and trains the
perceptron only, also with additional handcrafted features: this takes minutes instead of hours, since convolutional
features are computed once. Thresholds are set on a part of the held-out photos; `python -m benchmarks.perception`
evaluates on the others.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from imaging.device import bfloat16_where_fast
from iqa.degradation_net import DegradationNet
from iqa.patches import COUNT, SIDE
from toolbox.tasks import Degradation, Severity
from training.data.degradation_sampling import ORDER, Truth, samples
from training.data.photos import for_weights, held_out, others, photos
from training.fits.logistic import logistic
from training.fits.net_trainer import (
    BEGINNING,
    Looks,
    Rows,
    as_input,
    features_by,
    fresh,
    grown_from,
    look,
    rows_of,
    save,
    train,
    train_steps,
    with_dropout,
)

Matrix = NDArray[np.float64]
OTHERS = 0.125
LEVELS = len(Severity) - 1
ENLARGED = 2 ** (0.5 * (np.arange(LEVELS) + 0.5))
"""Minimum factor of enlargement of each level of the label, by `OCTAVES_PER_LEVEL`."""
BATCH, PATCHES_PER_IMAGE = 48, 4
BATCH_OF_FEATURES, LEARNING_RATE, DROPPED = 96, 2e-3, 0.3
"""For the perceptron alone; `DROPPED` is the probability of dropout."""
THRESHOLDS, CALIBRATED = "thresholds", 0.18
"""Folder of the samples for the thresholds, and their number relative to the training samples."""
FALSE_ALARMS = 0.03
"""Largest share of clean images that a threshold may classify as degraded."""
AS_GOOD = 0.005
"""Difference in F1 up to which thresholds are equally good."""
LEAST = tuple(np.arange(0.25, 0.76, 0.05).round(2))


@dataclass(frozen=True, slots=True)
class Drawn:
    """The inputs of the network for many samples, and their labels."""

    looks: Looks
    rows: Rows
    truth: NDArray[np.float32]
    """(n, kinds, 4): see `reached`."""
    names: tuple[str, ...]
    """Names of the columns of `rows`."""

    @classmethod
    def load(cls, folder: Path) -> Drawn:
        """Load the samples that `draw` has written."""
        rows, names = rows_of(json.loads((folder / "handcrafted.json").read_text()))
        return cls(np.load(folder / "looks.npy", mmap_mode="r"), rows, np.load(folder / "truth.npy"), names)


def draw_paths(data: Path, count: int, seed: int) -> list[Path]:
    """Draw that many training images with replacement; none of them is held out."""
    rng = np.random.default_rng(seed)
    photographs = [path for path in photos(data) if not held_out(path)]
    rest = [path for path in others(data) if not held_out(path)] or photographs
    pools = (rest if chance < OTHERS else photographs for chance in rng.random(count))
    return [pool[int(rng.integers(len(pool)))] for pool in pools]


def reached(truth: Truth) -> NDArray[np.float32]:
    """(kinds, 4): whether each level of each degradation is reached; for low resolution, by its enlargement."""
    levels = [truth.needs.get(kind, Severity.VERY_LOW) > np.arange(LEVELS) for kind in ORDER]
    levels[ORDER.index(Degradation.LOW_RESOLUTION)] = truth.enlarged >= ENLARGED
    return np.array(levels, np.float32)


def draw(paths: Sequence[Path], folder: Path, seed: int, workers: int) -> None:
    """Write looks.npy, handcrafted.json and truth.npy to `folder`, unless they exist."""
    if (folder / "handcrafted.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(paths), COUNT + 1, 3, SIDE, SIDE)
    looks = np.lib.format.open_memmap(folder / "looks.npy", "w+", np.uint8, shape)
    handcrafted, truths = list[dict[str, float]](), list[NDArray[np.float32]]()
    for index, ((pixels, measured), truth) in enumerate(samples(paths, seed, workers, look)):
        looks[index] = pixels
        handcrafted.append(measured)
        truths.append(reached(truth))
        if (index + 1) % 1000 == 0:
            print(f"drew {index + 1}", flush=True)
    np.save(folder / "truth.npy", np.array(truths))
    (folder / "handcrafted.json").write_text(json.dumps(handcrafted))


def fit(drawn: Drawn, minutes: float, seed: int) -> DegradationNet:
    """Train a network with binary cross-entropy of reaching each level."""
    network = fresh(3, drawn.rows, len(ORDER) * LEVELS, seed)
    rng = np.random.default_rng(seed)

    def loss(network: DegradationNet) -> Tensor:
        chosen = np.sort(rng.choice(len(drawn.looks), BATCH, replace=False))
        near, whole = as_input(drawn.looks[chosen], bool(rng.random() < 0.5), PATCHES_PER_IMAGE, rng)
        with bfloat16_where_fast(torch.device("cpu")):
            answer, _ = network(near, whole, torch.from_numpy(drawn.rows[chosen]))
        return functional.binary_cross_entropy_with_logits(
            answer.float(), torch.from_numpy(drawn.truth[chosen]).flatten(1)
        )

    return train(network, loss, minutes, BEGINNING)


def fit_perceptron(network: DegradationNet, drawn: Drawn, steps: int, seed: int) -> DegradationNet:
    """Train the perceptron alone, on precomputed convolutional features, with dropout."""
    details, scenes = features_by(network, drawn.looks)
    rows, truth = torch.from_numpy(drawn.rows), torch.from_numpy(drawn.truth).flatten(1)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network.requires_grad_(False)
    plain, network.say = network.say.requires_grad_(True), with_dropout(network.say, DROPPED)

    def loss(network: DegradationNet) -> Tensor:
        chosen = torch.from_numpy(rng.integers(len(rows), size=BATCH_OF_FEATURES))
        patches = torch.from_numpy(rng.permutation(COUNT)[:PATCHES_PER_IMAGE])
        answer, _ = network.answer(details[chosen][:, patches].float(), scenes[chosen].float(), rows[chosen])
        return functional.binary_cross_entropy_with_logits(answer, truth[chosen])

    train_steps(network, loss, steps, LEARNING_RATE)
    network.say = plain
    return network.eval()


@torch.inference_mode()
def answers(network: DegradationNet, drawn: Drawn) -> NDArray[np.float64]:
    """(n, kinds, 4) logits."""
    rng = np.random.default_rng(0)
    parts = []
    for start in range(0, len(drawn.looks), BATCH):
        near, whole = as_input(drawn.looks[start : start + BATCH], False, COUNT, rng)
        parts.append(network(near, whole, torch.from_numpy(drawn.rows[start : start + BATCH]))[0].double().numpy())
    return np.concatenate(parts).reshape(len(drawn.looks), len(ORDER), LEVELS)


def calibrate(logits: NDArray[np.float64], truth: NDArray[np.float32]) -> tuple[Matrix, Matrix]:
    """Scale and shift (kinds, 4) of the logits that calibrate the probabilities (Platt 1999)."""
    scales, shifts = np.ones(logits.shape[1:]), np.zeros(logits.shape[1:])
    for kind, level in np.ndindex(*scales.shape):
        scales[kind, level], shifts[kind, level] = _platt(logits[:, kind, level], truth[:, kind, level])
    return scales, shifts


def thresholds(chances: NDArray[np.float64], truth: NDArray[np.float32]) -> list[float]:
    """For each kind the least probability of a level that is reached: the median of the thresholds whose F1 is within
    `AS_GOOD` of the best.

    F1 of needing a task, over images with a high severity or none; false alarms are limited to `FALSE_ALARMS`.
    """
    clean = truth.max((1, 2)) == 0
    needed, high = Severity.MEDIUM - 1, Severity.HIGH - 1
    chosen = []
    for kind in range(len(ORDER)):
        counted = (truth[:, kind, high] > 0) | (truth[:, kind, 0] == 0)
        there = truth[counted, kind, high] > 0
        rare = [least for least in LEAST if (chances[clean, kind, needed] > least).mean() <= FALSE_ALARMS]
        scores = {least: f1(chances[counted, kind, needed] > least, there) for least in rare or LEAST[-1:]}
        as_good = [least for least, score in scores.items() if score >= max(scores.values()) - AS_GOOD]
        chosen.append(float(as_good[(len(as_good) - 1) // 2]))
    return chosen


def f1(found: NDArray[np.bool_], there: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall."""
    return float(2 * (found & there).sum() / max(1, found.sum() + there.sum()))


def _platt(logits: Matrix, truth: NDArray[np.float32]) -> Matrix:
    return logistic(np.column_stack([logits, np.ones(len(logits))]), truth, [1, 0])


@torch.no_grad()
def build_in(network: DegradationNet, scales: Sequence[float], shifts: Sequence[float]) -> None:
    """Merge scale and shift into the last layer, which computes the logits of the patches."""
    last = network.say[-1]
    if not isinstance(last, nn.Linear):
        raise TypeError(f"the last layer is {type(last).__name__}, not Linear")
    logits = slice(0, len(scales))
    last.weight[logits] *= torch.tensor(scales, dtype=torch.float32)[:, None]
    last.bias[logits] *= torch.tensor(scales, dtype=torch.float32)
    last.bias[logits] += torch.tensor(shifts, dtype=torch.float32)


def main() -> None:
    """Draw missing samples, train, calibrate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--looks", type=Path, required=True, help="folder for the samples (about 4 GB)")
    parser.add_argument("--samples", type=int, default=14_000)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--begin", type=Path, help="network whose convolutions are kept")
    parser.add_argument("--steps", type=int, default=8000, help="of the perceptron alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("iqa/degradations.safetensors"))
    arguments = parser.parse_args()
    folder, seed = arguments.looks, arguments.seed
    draw(draw_paths(arguments.data, arguments.samples, seed), folder, seed, arguments.workers)
    aside = [path for path in photos(arguments.data) if for_weights(path)]
    chosen = np.random.default_rng(seed).integers(len(aside), size=round(CALIBRATED * arguments.samples))
    draw([aside[index] for index in chosen], folder / THRESHOLDS, seed, arguments.workers)
    learned, held = Drawn.load(folder), Drawn.load(folder / THRESHOLDS)
    if arguments.begin:
        network = fit_perceptron(grown_from(arguments.begin, learned.rows), learned, arguments.steps, seed)
    else:
        network = fit(learned, arguments.minutes, seed)
    scales, shifts = calibrate(answers(network, held), held.truth)
    build_in(network, scales.ravel().tolist(), shifts.ravel().tolist())
    chances = 1 / (1 + np.exp(-answers(network, held)))
    least = thresholds(chances, held.truth)
    save(
        network,
        {"handcrafted": learned.names, "outputs": [kind.value for kind in ORDER], "least": least},
        arguments.output,
    )
    for index, kind in enumerate(ORDER):
        found = f1(chances[:, index, 1] > least[index], held.truth[:, index, 1] > 0)
        print(f"{kind.value:15} threshold {least[index]:.2f}: F1 {found:.3f} on the samples that set it")


if __name__ == "__main__":
    main()
