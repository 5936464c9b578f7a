"""Learn the best order of tasks, by restoring pairs and triples of degradations in every order.

    python -m training.fits.order --data DATA [--pairs 8] [--triples 2]
    python -m training.fits.order --data DATA --pairs 10 --triples 0 --kinds dark haze   # if their experts are new

Held-out photos are degraded in the order in which degradations arise, and restored in every order of the tasks. As in
the agent, each step keeps the candidate with the best score, among the experts with the best priors and the input. A
sample of "a before b" is the mean PSNR of the orders with a first minus that of the others. Writes
agent/order_trials.toml: for every pair the share of samples in which its order is better, the mean gain, and their
number. With `--kinds` only combinations with one of these are tried, and the other pairs in the table are kept.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations, permutations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from imaging.convert import from_numpy, to_float, to_uint8
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.candidate_score import CandidateScore, origin_of, removal, score
from iqa.consistency import consistency
from iqa.expert_priors import priors_for, shortlist_by_prior
from iqa.features import extract_features
from iqa.metrics.psnr import psnr
from iqa.quality import quality_of
from toolbox.expert import run_expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Degradation, Severity, Task
from training.data.degradation_sampling import single_threaded
from training.data.degradations import mix
from training.data.photos import for_weights, photos, read_pixels

KINDS = (
    Degradation.RAIN,
    Degradation.HAZE,
    Degradation.DARK,
    Degradation.DEFOCUS_BLUR,
    Degradation.MOTION_BLUR,
    Degradation.NOISE,
    Degradation.JPEG_ARTIFACT,
)
"""The degradations that are combined; their order determines the seeds."""
WORLD = (
    Degradation.RAIN,
    Degradation.HAZE,
    Degradation.MOTION_BLUR,
    Degradation.DARK,
    Degradation.DEFOCUS_BLUR,
    Degradation.NOISE,
    Degradation.JPEG_ARTIFACT,
)
"""The order in which scene, lens, sensor and storage add them, as in MiO100 (where haze once follows defocus)."""
SIDE, SIDE_OF_MOTION = 288, 448
"""Side in pixels to which photos are cropped; motion blur can only be estimated from the larger one."""
FIDELITY_WEIGHT = 0.5
SAME_DB = 0.05
"""Difference in PSNR up to which two orders are equally good."""

Job = tuple[Path, tuple[Degradation, ...], int, Path]
Sample = tuple[Task, Task, float]
"""The first task, the second one, and the gain of this order in dB."""
ExpertPriors = Mapping[str, Mapping[str, float]]
Row = dict[str, Any]
"""One entry of the table: first, then, right, gain_db, cases."""


def samples_of(job: Job) -> list[Sample]:
    """The gain of both orders of each pair in one combination."""
    path, kinds, seed, expert_priors = job
    side = SIDE_OF_MOTION if Degradation.MOTION_BLUR in kinds else SIDE
    pixels = read_pixels(path)[:side, :side]
    rng = np.random.default_rng([seed, len(kinds), *map(KINDS.index, kinds)])
    kinds = tuple(sorted(kinds, key=WORLD.index))
    severities = [Severity(int(rng.integers(Severity.MEDIUM, Severity.VERY_HIGH + 1))) for _ in kinds]
    degraded, _ = mix(pixels, kinds, rng, severities)
    bench = Bench(Image(from_numpy(to_float(to_uint8(degraded)))), _expert_priors(expert_priors))
    reference = Image(from_numpy(pixels))
    ends = {order: psnr(bench.restored(order), reference) for order in permutations(kind.task for kind in kinds)}
    return [
        (first, then, _mean(ends, first, then) - _mean(ends, then, first))
        for first, then in permutations((kind.task for kind in kinds), 2)
    ]


def _mean(ends: Mapping[tuple[Task, ...], float], first: Task, then: Task) -> float:
    return float(np.mean([db for order, db in ends.items() if order.index(first) < order.index(then)]))


class Bench:
    """The results of sequences of tasks on one degraded image; shared prefixes are computed once."""

    def __init__(self, image: Image, expert_priors: ExpertPriors) -> None:
        self._done: dict[tuple[Task, ...], Image] = {(): image}
        self._expert_priors = expert_priors

    def restored(self, order: tuple[Task, ...]) -> Image:
        """The image after these tasks."""
        if order not in self._done:
            self._done[order] = self._step(self.restored(order[:-1]), order[-1])
        return self._done[order]

    def _step(self, image: Image, task: Task) -> Image:
        before = extract_features(image)
        origin = origin_of(task, before)
        known = priors_for(self._expert_priors, task, origin.co_degradation_severity)

        def candidate_score(name: str, result: Image) -> float:
            features = before if result is image else extract_features(result)
            faithful = 1.0 if result is image else consistency(task, image, result)
            quality = quality_of(features, origin).score
            judged = CandidateScore(task, quality, removal(origin, features), faithful, known.get(name, 0.0))
            return score(judged, FIDELITY_WEIGHT)

        names = shortlist_by_prior({card.name: known.get(card.name, 0.0) for card in _pool().runnable(task, 1)})
        results = {name: run_expert(_pool().get(name), image, ProgressToken()) for name in names}
        results["keep_input"] = image
        return max(results.items(), key=lambda item: candidate_score(*item))[1]


@cache
def _pool() -> ExpertPool:
    return ExpertPool()


@cache
def _expert_priors(path: Path) -> ExpertPriors:
    table: ExpertPriors = tomllib.loads(path.read_text("utf-8"))
    return table


def jobs(paths: Sequence[Path], per_pair: int, per_triple: int, expert_priors: Path) -> Iterator[Job]:
    """Every pair and every triple, each with different photos."""
    number = 0
    for size, count in ((2, per_pair), (3, per_triple)):
        for kinds in combinations(KINDS, size):
            for seed in range(count):
                yield paths[number % len(paths)], kinds, seed, expert_priors
                number += 1


def table_of(samples: Sequence[Sample]) -> list[Row]:
    """For each pair the order with the larger mean gain."""
    gains = defaultdict[tuple[Task, Task], list[float]](list)
    for first, then, gain in samples:
        gains[first, then].append(gain)
    rows = list[Row]()
    for (first, then), values in gains.items():
        mean = float(np.mean(values))
        if mean < 0:
            continue
        decided = [value > 0 for value in values if abs(value) > SAME_DB]
        right = float(np.mean(decided)) if decided else 0.5
        rows.append({"first": first.value, "then": then.value, "right": right, "gain_db": mean, "cases": len(values)})
    return rows


def written(rows: Sequence[Row]) -> str:
    """The table as TOML."""
    lines = []
    for row in sorted(rows, key=lambda row: (row["first"], row["then"])):
        lines += [
            "\n[[pair]]",
            f'first = "{row["first"]}"',
            f'then = "{row["then"]}"',
            f"right = {row['right']:.2f}",
            f"gain_db = {row['gain_db']:.2f}",
            f"cases = {row['cases']}",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Try, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=8, help="photos for each pair")
    parser.add_argument("--triples", type=int, default=2, help="photos for each triple")
    parser.add_argument("--kinds", type=Degradation, nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--expert-priors", type=Path, default=Path("iqa/expert_priors.toml"))
    parser.add_argument("--output", type=Path, default=Path("agent/order_trials.toml"))
    arguments = parser.parse_args()
    unseen = [path for path in photos(arguments.data) if for_weights(path)]
    every = jobs(unseen, arguments.pairs, arguments.triples, arguments.expert_priors)
    work = [job for job in every if set(job[1]) & set(arguments.kinds)]
    learned = {kind.task.value for kind in arguments.kinds}
    before = tomllib.loads(arguments.output.read_text("utf-8"))["pair"] if arguments.output.exists() else []
    stays = [row for row in before if not {row["first"], row["then"]} & learned]
    samples = list[Sample]()
    with get_context("spawn").Pool(arguments.workers, initializer=single_threaded) as pool:
        for number, found in enumerate(pool.imap(samples_of, work)):
            samples += found
            if (number + 1) % 25 == 0:
                print(f"{number + 1} of {len(work)} mixtures", flush=True)
    head = f"# Written by: python -m training.fits.order --pairs {arguments.pairs} --triples {arguments.triples}"
    if stays:
        earlier = [line for line in arguments.output.read_text("utf-8").splitlines() if line.startswith("#")]
        head = "\n".join([*earlier, f"{head} --kinds {' '.join(arguments.kinds)}"])
    arguments.output.write_text(f"{head}\n{written([*stays, *table_of(samples)])}", "utf-8")


if __name__ == "__main__":
    main()
