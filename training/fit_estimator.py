"""Trains the degradation estimator on synthesised degradations and writes the network that iqa/ ships.

    python -m training.fit_estimator --data DATA --looks FOLDER [--samples 14000] [--minutes 30] [--begin FILE]

DATA/photo/ holds the photographs, one in five of which is held out (see training/photos.py); art, faces, aerial
and medical pictures beside it make up an eighth, so that drawings and scans are seen too. What was drawn is kept in
FOLDER, so that training can be done again without drawing; --begin goes on from a network that is there, which takes
fewer of them and less time. The result on the held-out ones is printed by
`python -m benchmarks.perception`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from imaging.device import bfloat16_where_fast
from iqa.pieces import COUNT, SIDE
from iqa.sight import Sight
from toolbox.tasks import Degradation, Severity
from training.logistic import logistic
from training.perceived import ORDER, Truth, samples
from training.photos import held_out, others, photos
from training.sights import BEGINNING, GOING_ON, Looks, Rows, as_input, fresh, go_on_from, look, rows_of, save, train

Matrix = NDArray[np.float64]
OTHERS = 0.125
LEVELS = len(Severity) - 1
ENLARGED = 2 ** (0.5 * (np.arange(LEVELS) + 0.5))
"""Factors of enlargement from which the network should see one more level of `OCTAVES_PER_LEVEL`."""
BATCH, PIECES = 48, 4
CALIBRATED = 0.12
"""Share of what was drawn that only sets the thresholds."""
FALSE_ALARMS = 0.03
"""Most clean pictures that may be called degraded when a threshold is set."""
LEAST = tuple(np.arange(0.25, 0.76, 0.05).round(2))


def draw_paths(data: Path, count: int, seed: int) -> list[Path]:
    """That many pictures to learn from, with repetition, none of them held out."""
    rng = np.random.default_rng(seed)
    photographs = [path for path in photos(data) if not held_out(path)]
    rest = [path for path in others(data) if not held_out(path)] or photographs
    pools = (rest if chance < OTHERS else photographs for chance in rng.random(count))
    return [pool[int(rng.integers(len(pool)))] for pool in pools]


def reached(truth: Truth) -> NDArray[np.float32]:
    """(kinds, 4): whether each level of each degradation was reached; of low resolution, whether of enlargement."""
    levels = [truth.needs.get(kind, Severity.VERY_LOW) > np.arange(LEVELS) for kind in ORDER]
    levels[ORDER.index(Degradation.LOW_RESOLUTION)] = truth.enlarged >= ENLARGED
    return np.array(levels, np.float32)


def draw(data: Path, folder: Path, count: int, seed: int, workers: int) -> None:
    """Fill FOLDER with looks.npy, evidence.json and truth.npy."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = (count, COUNT + 1, 3, SIDE, SIDE)
    looks = np.lib.format.open_memmap(folder / "looks.npy", "w+", np.uint8, shape)
    evidence, truths = list[dict[str, float]](), list[NDArray[np.float32]]()
    for index, ((pixels, measured), truth) in enumerate(samples(draw_paths(data, count, seed), seed, workers, look)):
        looks[index] = pixels
        evidence.append(measured)
        truths.append(reached(truth))
        if (index + 1) % 1000 == 0:
            print(f"drew {index + 1}", flush=True)
    np.save(folder / "truth.npy", np.array(truths))
    (folder / "evidence.json").write_text(json.dumps(evidence))


def fit(
    looks: Looks, rows: Rows, truth: NDArray[np.float32], minutes: float, seed: int, begin: Path | None = None
) -> Sight:
    """Binary cross-entropy of reaching each level; from the weights in `begin` on, or from fresh ones."""
    network = fresh(3, rows, len(ORDER) * LEVELS, seed)
    if begin:
        go_on_from(network, begin)
    rng = np.random.default_rng(seed)

    def loss(network: Sight) -> Tensor:
        chosen = np.sort(rng.choice(len(looks), BATCH, replace=False))
        near, whole = as_input(looks[chosen], bool(rng.random() < 0.5), PIECES, rng)
        with bfloat16_where_fast(torch.device("cpu")):
            answer, _ = network(near, whole, torch.from_numpy(rows[chosen]))
        return functional.binary_cross_entropy_with_logits(answer.float(), torch.from_numpy(truth[chosen]).flatten(1))

    return train(network, loss, minutes, GOING_ON if begin else BEGINNING)


@torch.inference_mode()
def answers(network: Sight, looks: Looks, rows: Rows) -> NDArray[np.float64]:
    """(n, kinds, 4) logits."""
    rng = np.random.default_rng(0)
    parts = []
    for start in range(0, len(looks), BATCH):
        near, whole = as_input(looks[start : start + BATCH], False, COUNT, rng)
        parts.append(network(near, whole, torch.from_numpy(rows[start : start + BATCH]))[0].double().numpy())
    return np.concatenate(parts).reshape(len(looks), len(ORDER), LEVELS)


def calibrate(logits: NDArray[np.float64], truth: NDArray[np.float32]) -> tuple[Matrix, Matrix]:
    """Scale and shift (kinds, 4) after which a chance is how often it is so (Platt 1999)."""
    scales, shifts = np.ones(logits.shape[1:]), np.zeros(logits.shape[1:])
    for kind, level in np.ndindex(*scales.shape):
        scales[kind, level], shifts[kind, level] = _platt(logits[:, kind, level], truth[:, kind, level])
    return scales, shifts


def thresholds(chances: NDArray[np.float64], truth: NDArray[np.float32]) -> list[float]:
    """For each kind the chance from which a level counts as reached: that of the best F1 of being worth a task.

    Counted over pictures that have much of it or none; clean ones called degraded must stay rare.
    """
    clean = truth.max((1, 2)) == 0
    needed, high = Severity.MEDIUM - 1, Severity.HIGH - 1
    chosen = []
    for kind in range(len(ORDER)):
        counted = (truth[:, kind, high] > 0) | (truth[:, kind, 0] == 0)
        there = truth[counted, kind, high] > 0
        best = max(
            (least for least in LEAST if (chances[clean, kind, needed] > least).mean() <= FALSE_ALARMS),
            key=lambda least: f1(chances[counted, kind, needed] > least, there),
            default=LEAST[-1],
        )
        chosen.append(float(best))
    return chosen


def f1(found: NDArray[np.bool_], there: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall."""
    return float(2 * (found & there).sum() / max(1, found.sum() + there.sum()))


def _platt(logits: Matrix, truth: NDArray[np.float32]) -> Matrix:
    return logistic(np.column_stack([logits, np.ones(len(logits))]), truth, [1, 0])


@torch.no_grad()
def build_in(network: Sight, scales: Sequence[float], shifts: Sequence[float]) -> None:
    """Put scale and shift into the last layer, where what the pieces say is made."""
    last = network.say[-1]
    if not isinstance(last, nn.Linear):
        raise TypeError(f"{type(last).__name__} is no last layer of a Sight")
    said = slice(0, len(scales))
    last.weight[said] *= torch.tensor(scales, dtype=torch.float32)[:, None]
    last.bias[said] *= torch.tensor(scales, dtype=torch.float32)
    last.bias[said] += torch.tensor(shifts, dtype=torch.float32)


def main() -> None:
    """Draw what is not drawn yet, train, calibrate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--looks", type=Path, required=True, help="folder for what is drawn (about 4 GB)")
    parser.add_argument("--samples", type=int, default=14_000)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--begin", type=Path, help="weights to go on from")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("iqa/degradations.safetensors"))
    arguments = parser.parse_args()
    if not (arguments.looks / "evidence.json").exists():
        draw(arguments.data, arguments.looks, arguments.samples, arguments.seed, arguments.workers)
    looks = np.load(arguments.looks / "looks.npy", mmap_mode="r")
    rows, names = rows_of(json.loads((arguments.looks / "evidence.json").read_text()))
    truth = np.load(arguments.looks / "truth.npy")
    first = round(CALIBRATED * len(looks))
    learned = looks[first:], rows[first:], truth[first:]
    network = fit(*learned, arguments.minutes, arguments.seed, arguments.begin)
    scales, shifts = calibrate(answers(network, looks[:first], rows[:first]), truth[:first])
    build_in(network, scales.ravel().tolist(), shifts.ravel().tolist())
    chances = 1 / (1 + np.exp(-answers(network, looks[:first], rows[:first])))
    least = thresholds(chances, truth[:first])
    save(network, {"evidence": names, "outputs": [kind.value for kind in ORDER], "least": least}, arguments.output)
    for index, kind in enumerate(ORDER):
        found = f1(chances[:, index, 1] > least[index], truth[:first, index, 1] > 0)
        print(f"{kind.value:15} from {least[index]:.2f} on: F1 {found:.3f} on what set its threshold")


if __name__ == "__main__":
    main()
