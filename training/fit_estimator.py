"""Fits the degradation estimator on synthesised degradations and writes the table that iqa/ ships.

    python -m training.fit_estimator --data DATA [--samples 10000] [--output iqa/degradations.toml]

DATA/photo/ holds the photographs, one in five of which is held out (see training/photos.py); art, faces, aerial
and medical pictures beside it make up an eighth, so that drawings and scans are seen too. The result on the
held-out ones is printed by `python -m benchmarks.perception`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.additive import Additive
from toolbox.tasks import Degradation, Severity
from training.additive import Table, as_toml, fit_ordinal, sums, tabulate
from training.perceived import need, samples
from training.photos import held_out, others, photos

LEARNED = (
    Degradation.NOISE,
    Degradation.JPEG_ARTIFACT,
    Degradation.MOTION_BLUR,
    Degradation.DEFOCUS_BLUR,
    Degradation.HAZE,
    Degradation.RAIN,
    Degradation.DARK,
)
OTHERS = 0.125
SPARSITY = 0.008
AS_GOOD = 0.005
FALSE_ALARMS = 0.03
"""Most clean pictures that may be called degraded when the threshold is set."""


def with_best_threshold(
    model: Additive, table: Table, levels: NDArray[np.int64], clean: NDArray[np.bool_]
) -> Additive:
    """All offsets shifted alike, to the lowest threshold at which the F1 score of `MEDIUM` is as good as at its best.

    A degradation that is missed stays in the picture; one that is not there is found out when its experts do not
    help. Hence the lowest, within the allowed false alarms.
    """
    logits = sums(model, table) + model.offsets[Severity.MEDIUM - 1]
    needed = levels >= Severity.MEDIUM

    def f1(shift: float) -> float:
        found = logits + shift > 0
        if found[clean].mean() > FALSE_ALARMS:
            return 0.0
        return float(2 * (found & needed).sum() / (found.sum() + needed.sum()))

    scores = {shift: f1(shift) for shift in np.arange(-1, 2.01, 0.1).tolist()}
    shift = max(shift for shift, score in scores.items() if score >= max(scores.values()) - AS_GOOD)
    return Additive(model.terms, tuple(offset + shift for offset in model.offsets))


def draw_paths(data: Path, count: int, seed: int) -> list[Path]:
    """That many pictures to learn from, with repetition, none of them held out."""
    rng = np.random.default_rng(seed)
    photographs = [path for path in photos(data) if not held_out(path)]
    rest = [path for path in others(data) if not held_out(path)] or photographs
    pools = (rest if chance < OTHERS else photographs for chance in rng.random(count))
    return [pool[int(rng.integers(len(pool)))] for pool in pools]


def main() -> None:
    """Draw, measure, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("iqa/degradations.toml"))
    arguments = parser.parse_args()
    evidence, truths = samples(
        draw_paths(arguments.data, arguments.samples, arguments.seed), arguments.seed, arguments.workers
    )
    table = tabulate(evidence, np.ones(len(evidence), bool))
    clean = np.array([not truth for truth in truths])
    text = f"# Written by: python -m training.fit_estimator --samples {arguments.samples} --seed {arguments.seed}\n"
    for kind in LEARNED:
        levels = np.array([need(truth[kind]) if kind in truth else 0 for truth in truths])
        model = fit_ordinal(table, levels, Severity.VERY_HIGH, SPARSITY)
        model = with_best_threshold(model, table, levels, clean)
        text += "\n" + as_toml(kind.value, model)
        print(f"{kind.value:15} {len(model.terms)} terms")
    arguments.output.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
