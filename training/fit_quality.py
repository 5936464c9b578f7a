"""Fits what judges candidates: the fidelity that iqa.quality predicts, and the experience with every expert.

    python -m training.fit_quality --data DATA [--steps 1200]

Writes iqa/predicted_fidelity.toml and agent/experience.toml.

Learns from what the experts make of degraded photographs (training/judged.py), none of them held out; the result
on the held-out ones is printed by `python -m benchmarks.perception`. The order of the candidates of one step is what
decides, so differences within a step count fully and those between pictures a little.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.additive import Additive, Term
from toolbox.catalogue import default_catalogue
from toolbox.tasks import Task
from training.additive import Matrix, Table, as_toml, tabulate
from training.fit_estimator import draw_paths
from training.judged import HALF_RESTORED, KEPT, Judged, judged

ACROSS_STEPS = 0.15
"""Weight of what lies between pictures, against what lies within a step."""
RIDGE = 0.01
FEW = 4
"""Steps by which a mean counts half."""


def fit_differences(table: Table, truth: NDArray[np.float64], steps: NDArray[np.int64]) -> Additive:
    """Parabolas whose sum is the truth, by ridge regression after each step's mean is reduced to `ACROSS_STEPS`."""
    inputs = table.parabolas.reshape(len(truth), -1)
    middle = truth.mean()
    design, target = _closer(inputs, steps), _closer(truth[:, None] - middle, steps)[:, 0]
    gram = design.T @ design / len(design) + RIDGE * np.eye(design.shape[1])
    weights = np.linalg.solve(gram, design.T @ target / len(design)).reshape(-1, 2)
    terms = {
        name: Term(scale.centre, scale.spread, float(slope), float(bend), scale.log_offset)
        for name, scale, (slope, bend) in zip(table.names, table.scales, weights, strict=True)
    }
    return Additive(terms, (float(middle),))


def _closer(rows: Matrix, steps: NDArray[np.int64]) -> Matrix:
    _, member, counts = np.unique(steps, return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, member, rows)
    means /= counts[:, None]
    return rows - (1 - ACROSS_STEPS) * means[member]


def fit(candidates: Sequence[Judged]) -> Additive:
    """The model for these candidates."""
    table = tabulate([one.measured for one in candidates], np.ones(len(candidates), bool))
    truth = np.array([one.truth for one in candidates])
    return fit_differences(table, truth, np.array([one.group for one in candidates]))


def experience(candidates: Sequence[Judged]) -> dict[Task, dict[str, float]]:
    """How much nearer to the truth than the mean of its step each expert came, the mean over the steps of its task.

    Doing nothing is an expert too. Means of few steps are drawn towards 0.
    """
    catalogue, found = default_catalogue(), defaultdict[tuple[Task, str], list[float]](list)
    for _, group in groupby(candidates, key=lambda one: one.group):
        step = [one for one in group if one.name != HALF_RESTORED]
        task = next((catalogue.card(one.name).task for one in step if one.name != KEPT), None)
        middle = np.mean([one.truth for one in step])
        for one in step:
            if task is not None:
                found[task, one.name].append(float(one.truth - middle))
    table: dict[Task, dict[str, float]] = {}
    for (task, name), values in sorted(found.items()):
        table.setdefault(task, {})[name] = round(sum(values) / (len(values) + FEW), 4)
    return table


def main() -> None:
    """Draw, run the experts, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fidelity", type=Path, default=Path("iqa/predicted_fidelity.toml"))
    parser.add_argument("--experience", type=Path, default=Path("agent/experience.toml"))
    arguments = parser.parse_args()
    paths = draw_paths(arguments.data, arguments.steps, arguments.seed)
    candidates = judged(paths, arguments.seed, arguments.workers)
    head = f"# Written by: python -m training.fit_quality --steps {arguments.steps} --seed {arguments.seed}\n"
    arguments.fidelity.write_text(head + as_toml("predicted_fidelity", fit(candidates)), "utf-8")
    arguments.experience.write_text(head + _tables(experience(candidates)), "utf-8")
    print(f"learned from {len(candidates)} candidates of {arguments.steps} steps")


def _tables(known: dict[Task, dict[str, float]]) -> str:
    lines = []
    for task, experts in known.items():
        lines += [f"\n[{task.value}]", *(f"{name} = {value}" for name, value in experts.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
