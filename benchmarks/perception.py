"""How well degradations are found and candidates are ranked, on photographs that no fit has seen.

    python -m benchmarks.perception --data DATA [--samples 1500] [--steps 250]

DATA/photo/ as for training/fit_estimator.py; only its held-out fifth is used. Truth comes from synthesis: what was
applied, and the likeness of each candidate to the undamaged photo.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from itertools import combinations, groupby
from pathlib import Path

import numpy as np

from imaging.convert import from_numpy
from imaging.image import Image
from iqa.additive import load_models
from iqa.degradations import estimate_degradations, estimates_from
from iqa.metrics.niqe import niqe
from iqa.quality import combine, quality
from toolbox.tasks import Degradation, Severity
from training.judged import Judged, judged
from training.perceived import ORDER, need, samples
from training.photos import held_out, photos, read_pixels

Scorer = Callable[[Judged], float]
DIFFERENT_DB = 0.5
SIDES = (512, 1024, 2048, 4096)


def detection_table(evidence: Sequence[dict[str, float]], truths: Sequence[dict[Degradation, Severity]]) -> str:
    """One line per degradation: F1 of needing the task, false alarms, and how much of each severity is found."""
    estimates = [estimates_from(row) for row in evidence]
    clean = np.array([not truth for truth in truths])
    lines = [
        "degradation      F1     alarms: clean  absent | found of applied: v.low  low  med.  high  v.high | within 1"
    ]
    scores = []
    for kind in ORDER:
        applied = np.array([truth.get(kind, -1) for truth in truths])
        needed = np.array([need(truth[kind]) if kind in truth else Severity.VERY_LOW for truth in truths])
        severity = np.array([estimate[kind].severity for estimate in estimates])
        found = severity >= Severity.MEDIUM
        right = found & (needed >= Severity.MEDIUM)
        f1 = 2 * right.sum() / max(1, found.sum() + (needed >= Severity.MEDIUM).sum())
        scores.append(f1)
        recall = "  ".join(f"{found[applied == level].mean():.2f}" for level in Severity)
        within = (np.abs(severity - needed) <= 1).mean()
        lines.append(
            f"{kind.value:15} {f1:.3f}          {found[clean].mean():.3f}   {found[applied < 0].mean():.3f} |"
            f"                   {recall} | {within:.3f}"
        )
    lines.append(f"mean F1 {np.mean(scores):.3f} over {len(truths)} pictures, {clean.sum()} of them clean")
    return "\n".join(lines)


def ranking_table(candidates: Sequence[Judged]) -> str:
    """One line per score: rank correlation with the truth, right choices of two, and what the choice of one loses."""
    steps = [list(step) for _, step in groupby(candidates, key=lambda one: one.group)]
    model = load_models("predicted_fidelity.toml")["predicted_fidelity"]

    def predicted(one: Judged) -> float:
        return model(one.measured) + model.offsets[0]

    scorers: dict[str, Scorer] = {
        "NIQE": lambda one: -one.measured["niqe"],
        "predicted fidelity": predicted,
        "quality score": lambda one: combine({"niqe": one.measured["niqe"], "predicted_fidelity": predicted(one)}),
        "first candidate": lambda one: 0.0,
    }
    lines = ["score               Spearman  right of two (> 0.5 dB)  dB below the best of a step"]
    lines += [f"{name:18}  {_ranking(scorer, candidates, steps)}" for name, scorer in scorers.items()]
    return "\n".join([*lines, f"{len(candidates)} candidates of {len(steps)} steps"])


def _ranking(scorer: Scorer, candidates: Sequence[Judged], steps: Sequence[Sequence[Judged]]) -> str:
    from scipy.stats import rankdata

    scores = [scorer(one) for one in candidates]
    ranks = (
        np.corrcoef(rankdata(scores), rankdata([one.truth for one in candidates]))[0, 1]
        if len(set(scores)) > 1
        else 0
    )
    pairs = [
        (scorer(one) - scorer(other)) * (one.psnr_db - other.psnr_db)
        for step in steps
        for one, other in combinations(step, 2)
        if abs(one.psnr_db - other.psnr_db) > DIFFERENT_DB
    ]
    lost = [max(one.psnr_db for one in step) - max(step, key=scorer).psnr_db for step in _real(steps)]
    return f"{ranks:8.3f}  {np.mean(np.array(pairs) > 0):23.3f}  {np.mean(lost):27.2f}"


def _real(steps: Sequence[Sequence[Judged]]) -> list[list[Judged]]:
    """Without the candidate that was made from the true picture, which no agent has."""
    return [[one for one in step if one.name != "half_restored"] for step in steps]


def time_table(path: Path) -> str:
    """Seconds per call by size, the best of three."""
    import cv2

    pixels = read_pixels(path)
    lines = ["side   estimator  quality  whole NIQE"]
    for side in SIDES:
        image = Image(from_numpy(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)))
        seconds = [_seconds(measure, image) for measure in (estimate_degradations, quality, niqe)]
        lines.append(f"{side:4}   {seconds[0]:9.3f}  {seconds[1]:7.3f}  {seconds[2]:10.3f}")
    return "\n".join(lines)


def _seconds(measure: Callable[[Image], object], image: Image) -> float:
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        measure(image)
        spent.append(time.perf_counter() - started)
    return min(spent)


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    unseen = [path for path in photos(arguments.data) if held_out(path)]
    print(time_table(unseen[0]), "\n", flush=True)
    repeated = unseen * (1 + max(arguments.samples, arguments.steps) // len(unseen))
    print(detection_table(*samples(repeated[: arguments.samples], 1001, arguments.workers)), "\n", flush=True)
    print(ranking_table(judged(repeated[: arguments.steps], 1002, arguments.workers)))


if __name__ == "__main__":
    main()
