"""How well degradations are found and candidates are ranked, on photographs that no fit has seen.

    python -m benchmarks.perception --data DATA [--samples 1500] [--steps 250]

DATA/photo/ as for training/fit_estimator.py; only half of its held-out fifth is used, since the other half chose
weights. Truth comes from synthesis: what was applied, and the likeness of each candidate to the undamaged photo.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.judging import verdict_on
from benchmarks.additive import load_models, logistic
from imaging.convert import from_numpy, to_float, to_uint8
from imaging.image import Image
from iqa.degradations import estimate_degradations, estimates_from
from iqa.merit import origin_of
from iqa.metrics.niqe import niqe
from iqa.niqe import default_model
from iqa.quality import Origin, predicted_fidelity, quality
from iqa.seen import Seen, see
from toolbox.tasks import Degradation, Severity
from training.degradations import MIO100
from training.judged import HALF_RESTORED, Judged, judged
from training.perceived import ORDER, Truth, samples
from training.photos import for_weights, held_out, photos, read_pixels

Scorer = Callable[[Judged], float]
Levels = dict[Degradation, int]
DIFFERENT_DB = 0.5
FIDELITY_WEIGHT = 0.5
SIDES = (512, 1024, 2048, 4096)


def learned(seen: Seen) -> Levels:
    """Severities by the estimator that ships."""
    return {kind: int(estimate.severity) for kind, estimate in estimates_from(seen).items()}


def hand_made(seen: Seen) -> Levels:
    """Severities by the parabolas of before, which had no word on low resolution but the number of pixels."""
    levels: Levels = {}
    for name, model in load_models("hand_made.toml").items():
        total = model(seen.evidence)
        levels[Degradation(name)] = sum(logistic(total + offset) > 0.5 for offset in model.offsets)
    return levels


def detection_table(drawn: Sequence[tuple[Seen, Truth]], estimator: Callable[[Seen], Levels]) -> str:
    """One line per degradation.

    F1 of presence at medium severity and above: pictures to which it was applied at MEDIUM and above against those
    to which it was not applied, those with less of it left out; and F1 of being worth a task over all pictures.
    """
    found_levels = [estimator(seen) for seen, _ in drawn]
    truths = [truth for _, truth in drawn]
    clean = np.array([not truth.applied for truth in truths])
    lines = [
        "degradation     F1 present  F1 task   alarms: clean  absent | found of applied: v.low  low  med.  high"
        "  v.high | within 1"
    ]
    scores = []
    for kind in (kind for kind in ORDER if kind in found_levels[0]):
        severity = np.array([levels[kind] for levels in found_levels])
        needed = np.array([truth.needs.get(kind, Severity.VERY_LOW) for truth in truths])
        applied = np.array([truth.applied.get(kind, -1) for truth in truths])
        if kind is Degradation.LOW_RESOLUTION:  # which photos have by nature; what counts is what they resolve
            applied = np.where(needed > 0, needed, -1)
        found = severity >= Severity.MEDIUM
        there, absent = applied >= Severity.MEDIUM, applied < 0
        counted = there | absent
        present = _f1(found[counted], there[counted])
        scores.append(present)
        recall = "  ".join(
            f"{found[applied == level].mean():.2f}" if (applied == level).any() else "   -" for level in Severity
        )
        alarms = found[clean & absent].mean()
        within = (np.abs(severity - needed) <= 1).mean()
        lines.append(
            f"{kind.value:15} {present:10.3f}  {_f1(found, needed >= Severity.MEDIUM):7.3f}          "
            f"{alarms:.3f}   {found[absent].mean():.3f} |                   {recall} | {within:.3f}"
        )
    lines.append(f"mean F1 {np.mean(scores):.3f} over {len(truths)} pictures, {clean.sum()} of them clean")
    return "\n".join(lines)


def _f1(found: NDArray[np.bool_], there: NDArray[np.bool_]) -> float:
    return float(2 * (found & there).sum() / max(1, found.sum() + there.sum()))


def ranking_table(steps: Sequence[Sequence[Judged]]) -> str:
    """One line per score: rank correlation with the truth, right choices of two, and what the choice of one loses.

    What is restored halfway to the truth is a candidate for pairs and ranks, but not for choices: no agent has it.
    """
    scorers: dict[str, Scorer] = {
        "NIQE (4KAgent's formula as far as it runs)": lambda one: -one.seen.evidence["niqe"],
        "quality network, without the input": lambda one: predicted_fidelity(one.seen),
        "quality network, with the input": lambda one: predicted_fidelity(one.seen, Origin(one.task, one.before)),
        "the agent's score": agents_score,
        "no choice: the first candidate": lambda one: 0.0,
    }
    lines = [f"{'score':44} SSIM Spearman  right of two (> 0.5 dB)  dB below the best of a step"]
    lines += [f"{name:44} {_ranking(scorer, steps)}" for name, scorer in scorers.items()]
    return "\n".join([*lines, f"{sum(map(len, steps))} candidates of {len(steps)} steps"])


def agents_score(one: Judged) -> float:
    """The score that the default profile gives."""
    origin = origin_of(one.task, one.before)
    return verdict_on(one.name, one.seen, origin, one.consistency, FIDELITY_WEIGHT).score


def _ranking(scorer: Scorer, steps: Sequence[Sequence[Judged]]) -> str:
    from scipy.stats import spearmanr

    scores = [[scorer(one) for one in step] for step in steps]
    flat = [score for step in scores for score in step]
    truth = [one.ssim for step in steps for one in step]
    ranks = float(spearmanr(flat, truth).statistic) if len(set(flat)) > 1 else 0.0
    pairs, lost = list[bool](), list[float]()
    for step, values in zip(steps, scores, strict=True):
        for (one, a), (other, b) in combinations(zip(step, values, strict=True), 2):
            if abs(one.psnr_db - other.psnr_db) > DIFFERENT_DB:
                pairs.append((a - b) * (one.psnr_db - other.psnr_db) > 0)
        real = [(value, one.psnr_db) for one, value in zip(step, values, strict=True) if one.name != HALF_RESTORED]
        lost.append(max(db for _, db in real) - max(real, key=lambda pair: pair[0])[1])
    return f"{ranks:13.3f}  {np.mean(pairs):23.3f}  {np.mean(lost):27.2f}"


def time_table(path: Path) -> str:
    """Seconds per call by size, the best of three; NIQE also by pyiqa's code with the same parameters."""
    import cv2

    pixels = read_pixels(path)
    lines = ["side   estimator  quality  whole NIQE  pyiqa's code  times as long  values apart"]
    for side in SIDES:
        resized = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        image = Image(from_numpy(to_float(to_uint8(resized))))
        ours, theirs = niqe(image), niqe_by_pyiqa(image)
        seconds = [_seconds(measure, image) for measure in (estimate_degradations, quality, niqe)]
        peer = _seconds(niqe_by_pyiqa, image, times=1)
        lines.append(
            f"{side:4}   {seconds[0]:9.3f}  {seconds[1]:7.3f}  {seconds[2]:10.3f}  {peer:12.3f}  "
            f"{peer / seconds[2]:13.1f}  {abs(ours - theirs) / theirs:12.2%}"
        )
    return "\n".join(lines)


def niqe_by_pyiqa(image: Image) -> float:
    """What pyiqa computes with our parameters."""
    import torch
    from pyiqa.archs.niqe_arch import calculate_niqe

    model = default_model()
    prior = {"mu_pris_param": torch.tensor(model.mean)[None], "cov_pris_param": torch.tensor(model.covariance)[None]}
    return float(calculate_niqe(image.pixels[None], **prior))


def _seconds(measure: Callable[[Image], object], image: Image, times: int = 3) -> float:
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        measure(image)
        spent.append(time.perf_counter() - started)
    return min(spent)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    unseen = [path for path in photos(arguments.data) if held_out(path) and not for_weights(path)]
    print(time_table(unseen[0]), "\n", flush=True)
    repeated = unseen * (1 + max(arguments.samples, arguments.steps) // len(unseen))
    drawn = list(samples(repeated[: arguments.samples], 1001, arguments.workers, see))
    print(f"The network\n{detection_table(drawn, learned)}\n", flush=True)
    print(f"The hand-made estimator of before\n{detection_table(drawn, hand_made)}\n", flush=True)
    steps = list(judged(repeated[: arguments.steps], 1002, arguments.workers, MIO100))
    print(f"Steps of the sixteen combinations\n{ranking_table(steps)}")


if __name__ == "__main__":
    main()
