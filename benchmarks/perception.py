"""Accuracy of the degradation estimator and of the ranking of candidates, on held-out photographs.

    python -m benchmarks.perception --data DATA [--samples 1500] [--steps 256]
    python -m benchmarks.perception --data DATA --ranking-only --kept FOLDER    # only the judge, on stored steps

DATA/photo/ as for training/fits/degradation_net.py; only half of its held-out fifth is used, since the other half
chose weights. The ground truth comes from synthesis: the applied degradations, and the fidelity of each candidate to
the undamaged photo.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from agent.judging import COSTS, best_verdict, verdict_on
from agent.state import Verdict
from benchmarks.additive import load_models, logistic
from benchmarks.report import reported
from imaging.convert import from_numpy, to_float, to_uint8
from imaging.image import Image
from iqa.candidate_score import origin_of
from iqa.degradations import estimates_from
from iqa.features import ImageFeatures, extract_features
from iqa.metrics.niqe import default_model, niqe
from iqa.no_reference_fidelity import FidelityPrediction, predict_no_reference_fidelity
from iqa.quality import predicted_fidelity, quality_of
from toolbox.pool import ExpertPool
from toolbox.tasks import Degradation, Severity, Task
from training.data.candidate_dataset import FAILURE_PREFIX, KEEP_INPUT, DatasetCandidate, drawn_steps, truth_of
from training.data.degradation_sampling import ORDER, Truth, samples, single_threaded
from training.data.degradations import MIO100
from training.data.degraded_series import LARGEST, degraded
from training.data.photos import for_weights, held_out, photos, read_pixels

Levels = dict[Degradation, int]
"""Severity level of each degradation."""
DIFFERENT_DB = 0.5
FIDELITY_WEIGHT = 0.5
SIDES = (512, 1024, 2048, 4096)


def learned(features: ImageFeatures) -> Levels:
    """Severities by the shipped estimator."""
    return {kind: int(estimate.severity) for kind, estimate in estimates_from(features).items()}


def hand_made(features: ImageFeatures) -> Levels:
    """Severities by the earlier estimator, the parabolas of `benchmarks.additive`."""
    levels: Levels = {}
    for name, model in load_models("hand_made.toml").items():
        total = model(features.handcrafted)
        levels[Degradation(name)] = sum(logistic(total + offset) > 0.5 for offset in model.offsets)
    return levels


def detection_table(
    drawn: Sequence[tuple[ImageFeatures, Truth]], estimator: Callable[[ImageFeatures], Levels]
) -> str:
    """One line per degradation.

    F1 of presence at medium severity and above: pictures to which it was applied at MEDIUM and above against those
    to which it was not applied, those with less of it left out; and F1 of being worth a task over all pictures.
    """
    found_levels = [estimator(features) for features, _ in drawn]
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
        if kind is Degradation.LOW_RESOLUTION:  # clean photos can have it too; what they resolve counts
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


def pictures_table(paths: Sequence[Path], workers: int) -> str:
    """Rank correlation of scores on degraded pictures: one per photo, with one to three degradations."""
    jobs = list(enumerate(paths))
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        found, by_niqe, of_origins, ssim, fidelity = zip(*pool.imap(_picture, jobs, chunksize=8), strict=True)
    scores = {
        "NIQE": (by_niqe, by_niqe),
        "network of candidates": (of_origins, of_origins),
        "no-reference fidelity": ([one.ssim for one in found], [one.mean for one in found]),
    }
    lines = ["score                  Spearman with SSIM  with SSIM and PSNR, halves"]
    for name, (by_ssim, by_both) in scores.items():
        lines.append(f"{name:21} {_spearman(by_ssim, ssim):19.3f}  {_spearman(by_both, fidelity):26.3f}")
    return "\n".join([*lines, f"{len(ssim)} pictures"])


def _picture(job: tuple[int, Path]) -> tuple[FidelityPrediction, float, float, float, float]:
    index, path = job
    picture, psnr_db, ssim = degraded(read_pixels(path)[:LARGEST, :LARGEST], np.random.default_rng([1003, index]))
    features = extract_features(picture)
    niqe, network = -features.handcrafted["niqe"], predicted_fidelity(features, None)
    return predict_no_reference_fidelity(features), niqe, network, ssim, truth_of(psnr_db, ssim)


def ranking_table(steps: Sequence[Sequence[DatasetCandidate]], workers: int) -> str:
    """One line per score: rank correlation with the truth, right choices of two, and loss of the chosen one.

    The correlation is over all candidates of all steps, and within each step (the mean).

    The mean of degraded and original image counts for pairs and ranks, but not for choices: no agent has it. Results
    that were damaged on purpose are counted separately.
    """
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        opinions = pool.map(opinions_on, steps, chunksize=1)
    verdicts = [[one.verdict for one in step] for step in opinions]
    failed = preferred_failures(steps, verdicts)
    unharmed = [
        [index for index, one in enumerate(step) if not one.name.startswith(FAILURE_PREFIX)] for step in steps
    ]
    steps = [[step[index] for index in wanted] for step, wanted in zip(steps, unharmed, strict=True)]
    opinions = [[each[index] for index in wanted] for each, wanted in zip(opinions, unharmed, strict=True)]
    losses = [agents_loss(step, [one.verdict for one in each]) for step, each in zip(steps, opinions, strict=True)]
    lines = [
        f"{'score':44} SSIM Spearman  within a step  right of two (> 0.5 dB)  dB below the best of a step",
        *(
            f"{name:44} {_ranking(steps, [[score(one) for one in each] for each in opinions])}"
            for name, score in SCORES.items()
        ),
        f"{'the agent: ties to the faithful, the cheaper':100}{np.mean([loss.db for loss in losses]):14.2f}",
        f"{sum(map(len, steps))} candidates of {len(steps)} steps",
        f"results damaged on purpose that the agent's score puts above all better ones: {failed}\n",
        losses_by_task(losses),
    ]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Opinion:
    """A score of candidates."""

    verdict: Verdict
    """The score of the default profile."""
    niqe: float
    unaided: float
    """The fidelity of a candidate predicted without the step's input."""


SCORES: Mapping[str, Callable[[Opinion], float]] = {
    "NIQE (4KAgent's formula as far as it runs)": lambda one: -one.niqe,
    "no-reference fidelity": lambda one: one.unaided,
    "quality network, with the input": lambda one: one.verdict.metrics["predicted_fidelity"],
    "expert prior": lambda one: one.verdict.expert_prior,
    "the agent's score": lambda one: one.verdict.score,
    "no choice: the first candidate": lambda one: 0.0,
}


def opinions_on(step: Sequence[DatasetCandidate]) -> list[Opinion]:
    """The scores of all candidates of a step."""
    origin = origin_of(step[0].task, step[0].before)
    found = []
    for one in step:
        verdict = verdict_on(one.name, one.features, origin, one.consistency, FIDELITY_WEIGHT)
        verdict = verdict.model_copy(update={"cost": _cost(one.name)})
        found.append(
            Opinion(verdict, one.features.handcrafted["niqe"], predict_no_reference_fidelity(one.features).mean)
        )
    return found


def _cost(name: str) -> int:
    return _costs().get(name, 0)


@cache
def _costs() -> Mapping[str, int]:
    return {card.name: COSTS[card.loader] for card in ExpertPool().catalogue if card.loader in COSTS}


def preferred_failures(steps: Sequence[Sequence[DatasetCandidate]], verdicts: Sequence[Sequence[Verdict]]) -> str:
    """Share of steps in which a result with a known failure wins although an expert is closer to the reference."""
    wins = list[bool]()
    for step, each in zip(steps, verdicts, strict=True):
        judged_step = list(zip(step, each, strict=True))
        highest = max(verdict.score for one, verdict in judged_step if one.from_expert)
        best_db = max(one.psnr_db for one in step if one.from_expert)
        wins += [
            verdict.score > highest
            for one, verdict in judged_step
            if one.name.startswith(FAILURE_PREFIX) and one.psnr_db < best_db - DIFFERENT_DB
        ]
    return f"{sum(wins)} of {len(wins)}"


def losses_by_task(losses: Sequence[Loss]) -> str:
    """Losses of the agent by task: by keeping the input, by replacing it, and the largest one."""
    lines = [f"{'task':24} steps  dB lost  of all  input kept, wrongly  left, wrongly  largest: chosen, better"]
    of_task = {task: [loss for loss in losses if loss.task is task] for task in {loss.task for loss in losses}}
    for task, some in sorted(of_task.items(), key=lambda item: -sum(loss.db for loss in item[1])):
        lost, worst = sum(loss.db for loss in some), max(some, key=lambda loss: loss.db)
        kept, left = (
            sum(loss.db for loss in some if getattr(loss, side) == KEEP_INPUT) for side in ("chosen", "best")
        )
        shares = "".join(f"{value / len(losses):{width}.3f}" for value, width in ((lost, 8), (kept, 21), (left, 15)))
        named = f"  {worst.db:.2f}: {worst.chosen}, {worst.best}"
        lines.append(f"{task.value:24} {len(some):5}  {lost / len(some):7.2f}{shares}{named}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Loss:
    """Loss of a choice against the best candidate of its step."""

    task: Task
    db: float
    chosen: str
    best: str


def loss_of(step: Sequence[DatasetCandidate], chosen: DatasetCandidate) -> Loss:
    """Loss of one candidate."""
    best = max((one for one in step if one.from_expert), key=lambda one: one.psnr_db)
    return Loss(chosen.task, best.psnr_db - chosen.psnr_db, chosen.name, best.name)


def agents_loss(step: Sequence[DatasetCandidate], verdicts: Sequence[Verdict]) -> Loss:
    """Loss of the agent's choice."""
    winner = best_verdict([verdict for one, verdict in zip(step, verdicts, strict=True) if one.from_expert])
    return loss_of(step, next(one for one in step if one.name == winner.expert))


def _ranking(steps: Sequence[Sequence[DatasetCandidate]], scores: Sequence[Sequence[float]]) -> str:
    pairs, within, lost = list[bool](), list[float](), list[float]()
    for step, values in zip(steps, scores, strict=True):
        for (one, a), (other, b) in combinations(zip(step, values, strict=True), 2):
            if abs(one.psnr_db - other.psnr_db) > DIFFERENT_DB:
                pairs.append((a - b) * (one.psnr_db - other.psnr_db) > 0)
        within.append(_spearman(values, [one.ssim for one in step]))
        real = [(value, one) for one, value in zip(step, values, strict=True) if one.from_expert]
        lost.append(loss_of(step, max(real, key=lambda pair: pair[0])[1]).db)
    ranks = _spearman([score for step in scores for score in step], [one.ssim for step in steps for one in step])
    return f"{ranks:13.3f}  {np.mean(within):13.3f}  {np.mean(pairs):23.3f}  {np.mean(lost):27.2f}"


def _spearman(scores: Sequence[float], truth: Sequence[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(scores, truth).statistic) if len(set(scores)) > 1 and len(set(truth)) > 1 else 0.0


def time_table(path: Path) -> str:
    """Seconds per call by size, the best of three; NIQE also by pyiqa's code with the same parameters."""
    import cv2

    pixels = read_pixels(path)
    lines = ["side   estimator  quality  whole NIQE  pyiqa's code  times as long  values apart"]
    for side in SIDES:
        resized = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        image = Image(from_numpy(to_float(to_uint8(resized))))
        ours, theirs = niqe(image), niqe_by_pyiqa(image)
        seconds = [
            _seconds(lambda given: estimates_from(extract_features(given)), image),
            _seconds(lambda given: quality_of(extract_features(given)), image),
            _seconds(niqe, image),
        ]
        peer = _seconds(niqe_by_pyiqa, image, times=1)
        lines.append(
            f"{side:4}   {seconds[0]:9.3f}  {seconds[1]:7.3f}  {seconds[2]:10.3f}  {peer:12.3f}  "
            f"{peer / seconds[2]:13.1f}  {abs(ours - theirs) / theirs:12.2%}"
        )
    return "\n".join(lines)


def niqe_by_pyiqa(image: Image) -> float:
    """NIQE by pyiqa with our parameters."""
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


@reported("perception", "Degradation estimator and ranking of candidates", preformatted=True)
def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--kept", type=Path, help="folder in which the steps stay, for the next time")
    parser.add_argument("--ranking-only", action="store_true", help="neither time nor degradations")
    arguments = parser.parse_args()
    unseen = [path for path in photos(arguments.data) if held_out(path) and not for_weights(path)]
    repeated = unseen * (1 + max(arguments.samples, arguments.steps) // len(unseen))
    if not arguments.ranking_only:
        print(time_table(unseen[0]), "\n", flush=True)
        drawn = list(samples(repeated[: arguments.samples], 1001, arguments.workers, extract_features))
        plain = [one for one in drawn if not one[1].from_the_web]
        for name, estimator in (("The network", learned), ("The hand-made estimator of before", hand_made)):
            print(f"{name}, on all pictures\n{detection_table(drawn, estimator)}\n", flush=True)
            print(f"{name}, without those from the web\n{detection_table(plain, estimator)}\n", flush=True)
        print(f"Pictures of mixed degradations\n{pictures_table(repeated[: arguments.samples], arguments.workers)}\n")
    steps = list(drawn_steps(repeated[: arguments.steps], 1002, arguments.workers, MIO100, arguments.kept))
    print(f"Steps of the sixteen combinations\n{ranking_table(steps, arguments.workers)}")


if __name__ == "__main__":
    main()
