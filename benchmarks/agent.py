"""Compares the agent with other agents that use the same experts, and with ablations, on MiO100 combinations.

    python -m benchmarks.agent --data DATA/bench/bsd100/hr --photos 2 [--only "the agent" "random order"] [--side 640]

Gains are means over the sixteen combinations of PSNR and SSIM (RGB) over the degraded input, enlarged bicubically
where it is smaller; `worst` is the lowest mean of one combination. Expert runs and scorer calls are counted in
full-size equivalents: a prescreened crop counts by its share of the pixels. 4KAgent's own pictures cost 7.5 tool and
10.1 perception calls (arXiv 2507.07105).

Ablations: "without rollback" takes the best expert's result at every step, even if the judge prefers the
input; "without replanning" undoes such a step, and continues with the same plan; "without prescreening" runs the
same experts on the whole of large pictures (more than 0.26 megapixels: give a --side above 512, or nothing is
prescreened); "every expert on the whole" also runs those that the expert priors leave out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np

from agent import judging, qmoe, run_context, step_context
from agent.reasoners.reasoner import RULES, Ordering, Reasoner, RuleReasoner
from agent.run import Restoration
from agent.state import KEEP_INPUT, Perception, Verdict
from benchmarks.agent_on import restored_by_agent
from benchmarks.agenticir import restored_depth_first
from benchmarks.combinations import SIDE, degraded_and_clean
from benchmarks.report import reported
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from iqa.crops import Box
from iqa.features import ImageFeatures, extract_features
from iqa.metrics.psnr import psnr
from iqa.metrics.ssim import ssim
from iqa.quality import combine
from profiles.loading import load_profile
from toolbox.expert import run_expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.data.degradation_sampling import single_threaded
from training.data.degradations import MIO100

Context = Callable[[], AbstractContextManager[object]]
ALL_IN_ONE = "restore4k_all_in_one_denoise"


@dataclass(frozen=True, slots=True)
class Result:
    """A restored picture, and its cost."""

    image: Image
    expert_runs: float
    scorer_calls: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent, given as a modification of ours."""

    changes: Mapping[str, object] = field(default_factory=dict)
    reasoner: Reasoner = RULES
    context: Context = nullcontext

    def __call__(self, image: Image, scale: int) -> Result:
        """Restore `image`, `scale` times as large."""
        profile = load_profile("default").model_copy(update=dict(self.changes))
        looks = list[float]()
        with self.context(), _counted(looks, image):
            after, _, restoration = restored_by_agent(image, scale, profile, _pool(), self.reasoner)
        return Result(after, _full_size_runs(restoration), sum(looks), sum(restoration.state.seconds.values()))


@dataclass(frozen=True, slots=True)
class ShuffledOrder(RuleReasoner):
    """The rules, but with a random order."""

    name: str = "random"

    def order(self, tasks: Sequence[Task], perception: Perception, failed: Mapping[Task, str]) -> Ordering:
        """A random order, but super-resolution last: after it, every step would cost up to sixteen times as much."""
        seed = [
            len(tasks),
            perception.width,
            *(int(1e6 * value) for value in perception.metrics.values() if value > 0),
        ]
        chance = np.random.default_rng(seed)
        shuffled = [tasks[index] for index in chance.permutation(len(tasks))]
        shuffled.sort(key=lambda task: (task is Task.SUPER_RESOLUTION, task in failed))
        return Ordering(tuple(shuffled), ("by chance",), self.name)


@contextmanager
def _without_expert_priors() -> Iterator[None]:
    def nothing(task: Task, expert: str, level: float = 0.0) -> float:
        return 0.0

    in_qmoe = patch.multiple(qmoe, expert_prior=nothing, best_prior=nothing)
    with patch.object(judging, "expert_prior", nothing), in_qmoe:
        yield


def _without_prescreening() -> AbstractContextManager[object]:
    return patch.object(qmoe, "PRESCREEN_ABOVE_PIXELS", sys.maxsize)


@contextmanager
def _niqe_alone() -> Iterator[None]:
    """4KAgent's formula with the only metric of it that is built in: the score is that of NIQE alone."""

    def verdict(expert: str, features: ImageFeatures, *_: object, **__: object) -> Verdict:
        value = combine({"niqe": features.handcrafted["niqe"]})
        return Verdict(expert=expert, score=value, quality=value)

    same = patch.object(judging, "own_error", lambda: 0.0)
    with patch.object(judging, "verdict_on", verdict), same, _without_expert_priors():
        yield


def _all_in_one(image: Image, scale: int) -> Result:
    expert = _pool().get(ALL_IN_ONE)
    result = run_expert(expert, image, ProgressToken())
    return Result(result, 1, 0, 0.0)


def _depth_first(image: Image, scale: int) -> Result:
    result, runs, looks, seconds = restored_depth_first(image, scale, _pool())
    return Result(result, runs, looks, seconds)


AGENTS: dict[str, Callable[[Image, int], Result]] = {
    "the agent": Agent(),
    "4KAgent's rules": Agent({"exhaustive": True, "keep_input": False, "fidelity_weight": 0.0}, context=_niqe_alone),
    "AgenticIR's depth-first search": _depth_first,
    "random order": Agent(reasoner=ShuffledOrder()),
    "the all-in-one network": _all_in_one,
    "without rollback": Agent({"rollback": False, "keep_input": False}),
    "without replanning": Agent({"rollback": False}),
    "without prescreening": Agent(context=_without_prescreening),
    "every expert on the whole": Agent({"exhaustive": True}),
    "without consistency": Agent({"fidelity_weight": 0.0}),
    "without expert priors": Agent(context=_without_expert_priors),
}


@cache
def _pool() -> ExpertPool:
    return ExpertPool()


@contextmanager
def _counted(looks: list[float], whole: Image) -> Iterator[None]:
    """Count the calls of estimator and metrics in `looks`; one on a crop counts by its share of the pixels."""

    def extract_and_count(
        image: Image, crops: tuple[Box, ...] | None = None, models: ExpertPool | None = None
    ) -> ImageFeatures:
        looks.append(min(1.0, image.width * image.height / (whole.width * whole.height)))
        return extract_features(image, crops, models)

    with (
        patch.object(judging, "extract_features", extract_and_count),
        patch.object(run_context, "extract_features", extract_and_count),
        patch.object(step_context, "extract_features", extract_and_count),
    ):
        yield


def _full_size_runs(restoration: Restoration) -> float:
    runs = 0.0
    for node in restoration.state.nodes:
        before = restoration.state.nodes[node.parent] if node.parent is not None else node
        crops = min(1.0, qmoe.PRESCREEN_CROPS * qmoe.PRESCREEN_SIDE**2 / (before.width * before.height))
        runs += sum(
            crops if verdict.stage == "prescreen" else 1.0
            for verdict in node.verdicts
            if verdict.expert != KEEP_INPUT
        )
    return runs


@dataclass(frozen=True, slots=True)
class Gain:
    """Gain and cost of one restoration."""

    combination: int
    psnr_db: float
    ssim: float
    expert_runs: float
    scorer_calls: float
    seconds: float


def gain_of(job: tuple[str, int, Path, int, int]) -> Gain:
    """Degrade one photo, restore it, and compare both with the photo."""
    agent, combination, file, seed, side = job
    degraded, truth = degraded_and_clean(file, MIO100[combination], seed, side)
    result = AGENTS[agent](degraded, truth.height // degraded.height)
    before, after = (
        image.with_pixels(resize(image.pixels, truth.height, truth.width)) for image in (degraded, result.image)
    )
    return Gain(
        combination,
        psnr(after, truth) - psnr(before, truth),
        ssim(after, truth) - ssim(before, truth),
        result.expert_runs,
        result.scorer_calls,
        result.seconds,
    )


def line(name: str, gains: Sequence[Gain]) -> str:
    """One row of the table."""
    by_combination = [
        np.mean([gain.psnr_db for gain in gains if gain.combination == index]) for index in range(len(MIO100))
    ]
    means = [
        float(np.mean([getattr(gain, key) for gain in gains]))
        for key in ("psnr_db", "ssim", "expert_runs", "scorer_calls", "seconds")
    ]
    psnr_db, similar, runs, calls, seconds = means
    worst = float(min(by_combination))
    return f"| {name} | {psnr_db:+.2f} | {similar:+.3f} | {worst:+.2f} | {runs:.1f} | {calls:.1f} | {seconds:.1f} |"


@reported("agent", "The agent, its ablations and other agents on MiO100's combinations")
def main() -> None:
    """Print the table, each row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of clean photos")
    parser.add_argument("--photos", type=int, default=2)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels that photos are cut to at most")
    parser.add_argument("--only", nargs="+", default=list(AGENTS), choices=list(AGENTS), metavar="AGENT")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.data.rglob("*") if path.suffix in (".png", ".webp", ".jpg"))
    chosen = np.random.default_rng(0).choice(len(files), min(arguments.photos, len(files)), replace=False)
    print(f"{len(chosen)} photos of at most {arguments.side} pixels, sixteen combinations each\n")
    print("| agent | PSNR | SSIM | worst | expert runs | scorer calls | seconds |\n|---|---|---|---|---|---|---|")
    with get_context("spawn").Pool(arguments.workers, initializer=single_threaded) as pool:
        for name in arguments.only:
            jobs = [
                (name, number, files[index], int(index), arguments.side)
                for number in range(len(MIO100))
                for index in chosen
            ]
            print(line(name, pool.map(gain_of, jobs, chunksize=1)), flush=True)


if __name__ == "__main__":
    main()
