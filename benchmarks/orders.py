"""Our order of tasks compared with random and fixed orders, with the same experts and the same judge.

    python -m benchmarks.orders --data DATA/bench/bsd100/hr --photos 4

MiO100's combinations of which two or more degradations keep the size, applied to clean photos. The degradations are
known, so that only the order differs: each picture is restored in every order of its tasks, each step as in
training.fits.order (the judge's choice among the input and the experts with the best priors). A fixed order of all
seven tasks is restricted to those of the picture. Gains are PSNR (RGB) over the degraded picture; `below ours` is the
share of the pictures on which an order ends more than 0.05 dB below ours.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import permutations
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from agent.ordering import best_order, prior_order
from benchmarks.combinations import SIDE, degraded_and_clean
from benchmarks.report import reported
from imaging.convert import from_numpy, to_float, to_numpy, to_uint8
from imaging.image import Image
from iqa.metrics.psnr import psnr
from toolbox.tasks import Degradation, Task
from training.data.degradation_sampling import single_threaded
from training.data.degradations import MIO100
from training.fits.order import KINDS, SAME_DB, Bench, ExpertPriors

Order = tuple[Task, ...]
TASKS: Order = tuple(kind.task for kind in KINDS)
MIXTURES = tuple(
    kinds
    for mixture in MIO100
    if len(kinds := tuple(kind for kind in mixture if kind is not Degradation.LOW_RESOLUTION)) > 1
)
DRAWN = 5
"""Number of random fixed orders."""


@dataclass(frozen=True, slots=True)
class Case:
    """Gain of one degraded picture in dB, for every order of its tasks."""

    mixture: int
    photo: int
    gains: Mapping[Order, float]

    def by(self, order: Order) -> float:
        """The gain in the order that `order` gives to these tasks."""
        tasks = next(iter(self.gains))
        return self.gains[tuple(task for task in order if task in tasks)]

    @property
    def ours(self) -> float:
        """The gain in the agent's order."""
        return self.gains[best_order(next(iter(self.gains)))]


def case_of(job: tuple[int, Path, int, int]) -> Case:
    """Degrade one photo, restore it in every order, and compare with the photo."""
    mixture, file, seed, side = job
    degraded, truth = degraded_and_clean(file, MIXTURES[mixture], seed, side)
    stored = Image(from_numpy(to_float(to_uint8(to_numpy(degraded.pixels)))))
    bench, before = Bench(stored, _expert_priors()), psnr(stored, truth)
    orders = permutations(kind.task for kind in MIXTURES[mixture])
    return Case(mixture, seed, {order: psnr(bench.restored(order), truth) - before for order in orders})


@cache
def _expert_priors() -> ExpertPriors:
    table: ExpertPriors = tomllib.loads((resources.files("iqa") / "expert_priors.toml").read_text("utf-8"))
    return table


def table(cases: Sequence[Case]) -> str:
    """A row for every order."""
    chance = np.random.default_rng(0)
    ours = [case.ours for case in cases]
    fixed = {"the prior": tuple(task for task in prior_order() if task in TASKS)}
    fixed["the prior reversed"] = fixed["the prior"][::-1]
    for number in range(DRAWN):
        fixed[f"fixed by chance {number + 1}"] = tuple(TASKS[index] for index in chance.permutation(len(TASKS)))
    every = [[case.by(order) for case in cases] for order in permutations(TASKS)]
    means = [float(np.mean(gains)) for gains in every]
    best, worst = int(np.argmax(means)), int(np.argmin(means))
    photos = sorted({case.photo for case in cases})
    of_others = {
        photo: int(
            np.argmax(
                [np.mean([g for g, case in zip(gains, cases, strict=True) if case.photo != photo]) for gains in every]
            )
        )
        for photo in photos
    }
    rows = {
        "ours": ours,
        "random (mean of all orders)": [float(np.mean(list(case.gains.values()))) for case in cases],
        **{name: [case.by(order) for case in cases] for name, order in fixed.items()},
        f"the best of all {len(every)} fixed orders, chosen on these pictures": every[best],
        "the best of them, chosen on the other photos": [
            every[of_others[case.photo]][number] for number, case in enumerate(cases)
        ],
        f"the worst of all {len(every)} fixed orders": every[worst],
        "the best order of each picture": [max(case.gains.values()) for case in cases],
    }
    lines = ["| order | gain dB | worst mixture | below ours |", "|---|---|---|---|"]
    for name, gains in rows.items():
        by_mixture = [
            np.mean([gain for case, gain in zip(cases, gains, strict=True) if case.mixture == mixture])
            for mixture in sorted({case.mixture for case in cases})
        ]
        below = float(np.mean([gain < own - SAME_DB for gain, own in zip(gains, ours, strict=True)]))
        lines.append(f"| {name} | {np.mean(gains):+.2f} | {min(by_mixture):+.2f} | {below:.0%} |")
    beaten = float(np.mean([mean < np.mean(ours) for mean in means]))
    return "\n".join([*lines, "", f"ours is better in the mean than {beaten:.1%} of all fixed orders"])


@reported("orders", "Order of the steps")
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of clean photos")
    parser.add_argument("--photos", type=int, default=4, help="of each mixture")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels that photos are cut to at most")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.data.rglob("*") if path.suffix in (".png", ".webp", ".jpg"))
    chosen = np.random.default_rng(0).choice(len(files), min(arguments.photos, len(files)), replace=False)
    work = [(number, files[index], int(index), arguments.side) for number in range(len(MIXTURES)) for index in chosen]
    with get_context("spawn").Pool(arguments.workers, initializer=single_threaded) as pool:
        cases = pool.map(case_of, work, chunksize=1)
    print(f"{len(MIXTURES)} mixtures of {len(chosen)} photos\n")
    print(table(cases))


if __name__ == "__main__":
    main()
