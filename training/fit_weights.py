"""Chooses the weights of the fidelity-aware score, and the lead that counts, by what the agent's choice loses.

    python -m training.fit_weights --data DATA [--steps 320]

Steps of MiO100's sixteen combinations and of random ones are made of photographs that no fit has seen; every weight
of a grid is tried on all of them. Prints the best ones with their mean loss, and rewrites the table
[fidelity_aware] of iqa/quality.toml.
"""

from __future__ import annotations

import argparse
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from iqa.merit import Merit, origin_of, removal, score
from iqa.quality import quality_of
from training.degradations import MIO100
from training.judged import HALF_RESTORED, Judged, judged
from training.photos import for_weights, photos

FIDELITY_WEIGHT = 0.5
"""That of the default profile."""
GRID = {
    "removal": (0.03, 0.1, 0.2, 0.4),
    "experience": (0.0, 0.5, 1.0, 2.0, 4.0),
    "consistency": (0.2, 0.3, 0.4),
    "error": (0.003, 0.01, 0.02, 0.04),
}
"""Removal and consistency count in any case: our own experts all keep to the picture, those of users need not."""

Weights = dict[str, float]
Step = list[tuple[Merit, float, float]]
"""Of every candidate its merit, its truth and its PSNR."""


def merits(step: Sequence[Judged], experience: Mapping[str, Mapping[str, float]]) -> Step:
    """What speaks for every candidate that an expert made, beside the truth."""
    origin = origin_of(step[0].task, step[0].before)
    return [
        (
            Merit(
                one.task,
                quality_of(one.seen, origin).score,
                removal(origin, one.seen),
                one.consistency,
                experience.get(one.task.value, {}).get(one.name, 0.0),
            ),
            one.truth,
            one.psnr_db,
        )
        for one in step
        if one.name != HALF_RESTORED
    ]


def losses(steps: Sequence[Step], weights: Weights) -> tuple[float, float]:
    """Mean truth and mean dB lost against the best candidate of each step."""
    lost = []
    for step in steps:
        _, truth, psnr_db = _chosen(step, weights)
        lost.append((max(one[1] for one in step) - truth, max(one[2] for one in step) - psnr_db))
    mean = np.mean(lost, 0)
    return float(mean[0]), float(mean[1])


def _chosen(step: Step, weights: Weights) -> tuple[Merit, float, float]:
    """As the agent chooses: of those within the error of the best score, the most faithful."""
    scores = [score(one[0], FIDELITY_WEIGHT, weights) for one in step]
    ahead = [(one, value) for one, value in zip(step, scores, strict=True) if value >= max(scores) - weights["error"]]
    return max(ahead, key=lambda each: (round(each[0][0].consistency, 2), each[1]))[0]


def best_weights(steps: Sequence[Step]) -> Weights:
    """Of those that lose the least truth; the five best are printed."""
    tried = [dict(zip(GRID, values, strict=True)) for values in product(*GRID.values())]
    order = sorted(tried, key=lambda weights: losses(steps, weights))
    for weights in order[:5]:
        print(weights, "loses {:.4f} of truth, {:.2f} dB".format(*losses(steps, weights)))
    return order[0]


def main() -> None:
    """Draw, choose, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--experience", type=Path, default=Path("agent/experience.toml"))
    parser.add_argument("--table", type=Path, default=Path("iqa/quality.toml"))
    arguments = parser.parse_args()
    unseen = [path for path in photos(arguments.data) if for_weights(path)]
    paths = (unseen * (1 + arguments.steps // len(unseen)))[: arguments.steps // 2]
    experience = tomllib.loads(arguments.experience.read_text("utf-8"))
    drawn = [*judged(paths, 2001, arguments.workers, MIO100), *judged(paths, 2002, arguments.workers)]
    steps = [merits(step, experience) for step in drawn]
    weights = best_weights(steps)
    text = arguments.table.read_text("utf-8")
    for name, value in weights.items():
        text = re.sub(rf"(?m)^{name} = [0-9.]+$", f"{name} = {value:.4g}", text)
    arguments.table.write_text(text, "utf-8")
    print(weights)


if __name__ == "__main__":
    main()
