"""Choose the weights of the fidelity-aware score, and the margin of a tie, that lose the least fidelity.

    python -m training.fits.score_weights --data DATA [--steps 320] [--kept FOLDER]

Steps of MiO100's sixteen combinations and of random ones are drawn on held-out photos; every combination of a grid of
weights is tried on all of them. Prints the best ones with their mean loss, and updates the table [fidelity_aware] of
iqa/quality.toml. The steps are stored in the folder `--kept`.
"""

from __future__ import annotations

import argparse
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from iqa.candidate_score import CandidateScore, origin_of, removal, score
from iqa.expert_priors import priors_for
from iqa.quality import quality_of
from training.data.candidate_dataset import DatasetCandidate, drawn_steps
from training.data.degradations import MIO100
from training.data.photos import for_weights, photos

FIDELITY_WEIGHT = 0.5
"""The value of the default profile."""
GRID = {
    "removal": (0.03, 0.1),
    "expert_prior": (0.5, 1.0, 1.5, 2.0, 3.0),
    "consistency": (0.2, 0.3, 0.4),
    "error": (0.003, 0.01, 0.02),
}
"""Removal and consistency are never 0: embedded experts are consistent with the input, others may not be."""

Weights = dict[str, float]


@dataclass(frozen=True, slots=True)
class Known:
    """One candidate: the parts of its score, and its true fidelity."""

    candidate_score: CandidateScore
    truth: float
    psnr_db: float


Step = list[Known]


def known(step: Sequence[DatasetCandidate], expert_priors: Mapping[str, Mapping[str, float]]) -> Step:
    """The parts of the score and the true fidelity of the results of experts and of the input."""
    origin = origin_of(step[0].task, step[0].before)
    found = Step()
    for one in (one for one in step if one.from_expert):
        about = priors_for(expert_priors, one.task, origin.co_degradation_severity).get(one.name, 0.0)
        candidate_score = CandidateScore(
            one.task, quality_of(one.features, origin).score, removal(origin, one.features), one.consistency, about
        )
        found.append(Known(candidate_score, one.truth, one.psnr_db))
    return found


def losses(steps: Sequence[Step], weights: Weights) -> tuple[float, float]:
    """Mean loss of fidelity and of PSNR in dB against the best candidate of each step."""
    lost = []
    for step in steps:
        chosen = _chosen(step, weights)
        lost.append(
            (max(one.truth for one in step) - chosen.truth, max(one.psnr_db for one in step) - chosen.psnr_db)
        )
    mean = np.mean(lost, 0)
    return float(mean[0]), float(mean[1])


def _chosen(step: Step, weights: Weights) -> Known:
    """The choice of the agent: among ties with the best score, the most consistent one."""
    scores = [score(one.candidate_score, FIDELITY_WEIGHT, weights) for one in step]
    ahead = [(one, value) for one, value in zip(step, scores, strict=True) if value >= max(scores) - weights["error"]]
    return max(ahead, key=lambda each: (round(each[0].candidate_score.consistency, 2), each[1]))[0]


def best_weights(steps: Sequence[Step]) -> Weights:
    """The weights that lose the least fidelity; prints the five best."""
    tried = [dict(zip(GRID, values, strict=True)) for values in product(*GRID.values())]
    order = sorted(((losses(steps, weights), weights) for weights in tried), key=lambda pair: pair[0])
    for (truth, db), weights in order[:5]:
        print(f"{weights} loses {truth:.4f} of fidelity, {db:.2f} dB")
    return order[0][1]


def main() -> None:
    """Draw, choose, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--kept", type=Path, help="folder in which the steps are stored for reuse")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--expert-priors", type=Path, default=Path("iqa/expert_priors.toml"))
    parser.add_argument("--table", type=Path, default=Path("iqa/quality.toml"))
    arguments = parser.parse_args()
    unseen = [path for path in photos(arguments.data) if for_weights(path)]
    paths = (unseen * (1 + arguments.steps // len(unseen)))[: arguments.steps // 2]
    expert_priors = tomllib.loads(arguments.expert_priors.read_text("utf-8"))
    drawn = [
        *drawn_steps(paths, 2001, arguments.workers, MIO100, arguments.kept),
        *drawn_steps(paths, 2002, arguments.workers, None, arguments.kept),
    ]
    weights = best_weights([known(step, expert_priors) for step in drawn])
    text = arguments.table.read_text("utf-8")
    for name, value in weights.items():
        text = re.sub(rf"(?m)^{name} = [0-9.]+$", f"{name} = {value:.4g}", text)
    arguments.table.write_text(text, "utf-8")
    print(weights)


if __name__ == "__main__":
    main()
