"""Dataset of candidates for the quality score: results of experts on degraded photos, measured without and with the
original.

Steps can be stored in a folder, one file each. Then an expert is run on a stored step only if it or its weights are
new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.atomic import atomic_write
from imaging.convert import FloatArray, from_numpy, to_float, to_numpy, to_uint8
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.candidate_score import origin_of
from iqa.consistency import consistency
from iqa.crops import CROP, crops_of
from iqa.expert_priors import prior_key
from iqa.features import ImageFeatures, enlarged, extract_features
from iqa.metrics.psnr import psnr
from iqa.metrics.ssim import ssim_y
from iqa.patches import extract_patches
from toolbox.card import ExpertCard, SpandrelCard
from toolbox.errors import ExpertError, WeightsError
from toolbox.expert import run_expert
from toolbox.network import WEIGHTS
from toolbox.pool import ExpertPool
from toolbox.tasks import Degradation, Task
from training.data.degradation_sampling import draw_kinds_with, single_threaded
from training.data.degradations import degrade, downscale, mix
from training.data.failure_modes import FAILURES
from training.data.pairs import real
from training.data.photos import read_pixels
from training.data.stored_rows import current_candidate, handcrafted_of

Combinations = Sequence[tuple[Degradation, ...]]
Bytes = NDArray[np.uint8]
SIDES = (192, 192, CROP)
"""Sides of the random crops, drawn with equal probability; given combinations always use the last one."""
SIDES_OF_MOTION = (CROP, 448)
"""Sides for motion deblurring: on smaller crops the blind experts change nothing."""
ENLARGED = (2, 4)
WORTH: Mapping[Task, float] = {
    Task.SUPER_RESOLUTION: 1,
    Task.DENOISING: 1,
    Task.MOTION_DEBLURRING: 1,
    Task.DEFOCUS_DEBLURRING: 1.5,
    Task.DEHAZING: 3,
    Task.DERAINING: 1,
    Task.BRIGHTENING: 3,
    Task.JPEG_ARTIFACT_REMOVAL: 1,
}
"""Relative number of steps of each task. Dehazing and brightening have the largest errors and the fastest experts."""
LATER = 0.3
"""Share of steps on mixed degradations whose input an expert of another task has processed."""
FROM_THE_WEB, NOISY = 0.35, 0.2
"""Shares of super-resolution steps with many degradations at once, and with noise only."""
KEEP_INPUT = "keep_input"
HALF_RESTORED = "half_restored"
"""Name of the mean of degraded and original image."""
FAILURE_PREFIX = "failure_"
"""Prefix of the names of synthesised failures."""


@dataclass(frozen=True, slots=True)
class DatasetCandidate:
    """One candidate of one step: its features, and its true fidelity."""

    group: int
    """Number of the step; candidates of one step are compared with each other."""
    task: Task
    name: str
    features: ImageFeatures
    before: ImageFeatures
    """Features of the input of the step, with patches enlarged to the size of the candidate."""
    consistency: float
    psnr_db: float
    ssim: float

    @property
    def truth(self) -> float:
        """See `truth_of`."""
        return truth_of(self.psnr_db, self.ssim)

    @property
    def from_expert(self) -> bool:
        """Whether it is the result of an expert, or the input."""
        return is_from_expert(self.name)


@dataclass(frozen=True, slots=True)
class Problem:
    """The input of one step, and the original."""

    image: Image
    truth: Image
    task: Task
    scale: int


def truth_of(psnr_db: float, ssim: float) -> float:
    """Fidelity of a result: mean of SSIM (Y) and of PSNR (RGB) mapped from 10..40 dB, in [0, 1]."""
    return (max(0.0, ssim) + psnr_share(psnr_db)) / 2


def psnr_share(psnr_db: float) -> float:
    """PSNR mapped from 10..40 dB to [0, 1]."""
    return min(1.0, max(0.0, (psnr_db - 10) / 30))


def is_from_expert(name: str) -> bool:
    """Whether a candidate of that name is the result of an expert, or the input."""
    return name != HALF_RESTORED and not name.startswith(FAILURE_PREFIX)


Job = tuple[Path, int, int, tuple[Degradation, ...] | None]


def drawn_steps(
    paths: Iterable[Path],
    seed: int,
    workers: int,
    combinations: Combinations | None = None,
    folder: Path | None = None,
) -> Iterator[list[DatasetCandidate]]:
    """The candidates of one step per path, of the `combinations` in turn, by default of random degradations.

    With a folder, steps of the same seed are loaded from it, and updated where experts have changed.
    """
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        yield from pool.imap(partial(_judge, folder=folder), _jobs(paths, seed, combinations), chunksize=4)


def draw(task: Task, paths: Iterable[Path], seed: int, workers: int, folder: Path) -> Iterator[Path]:
    """Draw one step of a task per path, update all other steps in the folder, and return the files."""
    drawn = {folder / f"{seed}-{index:05}.npz": (path, seed, index) for index, path in enumerate(paths)}
    jobs = [*drawn.items(), *((file, None) for file in files_in(folder) if file not in drawn)]
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        yield from pool.imap_unordered(partial(_store, task=task), jobs, chunksize=4)


def steps_in(folder: Path) -> Iterator[list[DatasetCandidate]]:
    """The candidates of every step in a folder or below it, without updating them."""
    for index, file in enumerate(files_in(folder)):
        yield StoredStep.load(file).candidates(index)


def files_in(folder: Path) -> list[Path]:
    """The files of the steps in a folder or below it."""
    return [file for file in sorted(folder.rglob("*.npz")) if not file.stem.endswith(".part")]


def rows_of(file: Path, step: int) -> list[dict[str, object]]:
    """Name and true fidelity of every candidate that is the result of an expert, or the input."""
    with np.load(file) as arrays:
        table = json.loads(arrays["table"].tobytes())
        task, image = Task(table["task"]), Image(from_numpy(to_float(arrays["image"])))
    key = prior_key(task, origin_of(task, extract_features(image)).co_degradation_severity)
    return [
        {"step": step, "task": key, "name": name, "truth": truth_of(row["psnr_db"], row["ssim"])}
        for name, row in ((current_candidate(name), row) for name, row in table["rows"].items())
        if is_from_expert(name)
    ]


def _jobs(paths: Iterable[Path], seed: int, combinations: Combinations | None) -> list[Job]:
    return [
        (path, seed, index, combinations[index % len(combinations)] if combinations else None)
        for index, path in enumerate(paths)
    ]


def _judge(job: Job, folder: Path | None) -> list[DatasetCandidate]:
    path, seed, index, combination = job
    rng = np.random.default_rng([seed, index])

    def problem() -> Problem:
        return _of(combination, read_pixels(path), rng) if combination else _drawn(_any_task(rng), path, rng)

    file = folder / f"{seed}-{index:05}.npz" if folder else None
    return _stored_step(file, problem, np.random.default_rng([seed, index, 1])).candidates(index)


def _store(job: tuple[Path, tuple[Path, int, int] | None], task: Task) -> Path:
    file, drawn = job
    if drawn:
        path, seed, index = drawn
        rng = np.random.default_rng([seed, index, *task.value.encode()])
        _stored_step(file, lambda: _drawn(task, path, rng), np.random.default_rng([seed, index, 1]))
    else:
        kept = StoredStep.load(file)
        if kept.bring_up_to_date():
            kept.save(file)
    return file


def _stored_step(file: Path | None, problem: Callable[[], Problem], rng: np.random.Generator) -> StoredStep:
    """Load a step from a file or draw it, and update it."""
    kept = StoredStep.load(file) if file and file.exists() else StoredStep.fresh(problem(), rng)
    if kept.bring_up_to_date() and file:
        kept.save(file)
    return kept


def _of(combination: Sequence[Degradation], pixels: FloatArray, rng: np.random.Generator) -> Problem:
    """A step on a combination of degradations, without low resolution."""
    clean = _patch(pixels, rng, CROP)
    kinds = [kind for kind in combination if kind is not Degradation.LOW_RESOLUTION] or [Degradation.NOISE]
    degraded, _ = mix(clean, kinds, rng)
    return Problem(_stored(degraded), Image(from_numpy(clean)), _any(kinds, rng), 1)


def _any_task(rng: np.random.Generator) -> Task:
    worth = np.array(list(WORTH.values()))
    return list(WORTH)[int(rng.choice(len(worth), p=worth / worth.sum()))]


def _drawn(task: Task, path: Path, rng: np.random.Generator) -> Problem:
    """A step of a task on mixed degradations that include its own, sometimes after an expert of another task."""
    sides = SIDES_OF_MOTION if task is Task.MOTION_DEBLURRING else SIDES
    clean = _patch(read_pixels(path), rng, int(rng.choice(sides)))
    if task is Task.SUPER_RESOLUTION:
        return _super_resolution(clean, rng)
    kinds = draw_kinds_with(task.degradation, rng)
    degraded, _ = mix(clean, kinds, rng)
    image = _stored(degraded)
    if len(kinds) > 1 and rng.random() < LATER:
        image = _after_another(image, _any([kind for kind in kinds if kind.task is not task], rng), rng)
    return Problem(image, Image(from_numpy(clean)), task, 1)


def _super_resolution(clean: FloatArray, rng: np.random.Generator) -> Problem:
    scale = int(rng.choice(ENLARGED))
    chance = rng.random()
    small = real(to_uint8(clean), scale, rng)[0] if chance < FROM_THE_WEB else downscale(clean, scale)
    if chance > 1 - NOISY:
        small, _ = degrade(small, Degradation.NOISE, rng)
    return Problem(_stored(small), Image(from_numpy(clean)), Task.SUPER_RESOLUTION, scale)


def _any(kinds: Sequence[Degradation], rng: np.random.Generator) -> Task:
    return kinds[int(rng.integers(len(kinds)))].task


def _after_another(image: Image, task: Task, rng: np.random.Generator) -> Image:
    cards = _pool().runnable(task)
    result = run_expert(_pool().get(cards[int(rng.integers(len(cards)))].name), image, ProgressToken())
    return _stored(to_numpy(result.pixels))


@dataclass(slots=True)
class StoredStep:
    """A step with the pixels of all its candidates, which can be stored in a file."""

    problem: Problem
    results: dict[str, Bytes]
    """(H, W, 3) by name."""
    rows: dict[str, dict[str, Any]]
    """`handcrafted`, `consistency`, `psnr_db`, `ssim` and expert `version` of each candidate."""

    @classmethod
    def fresh(cls, problem: Problem, rng: np.random.Generator) -> StoredStep:
        """A step with the candidates that need no expert."""
        kept = cls(problem, {}, {})
        if problem.task is not Task.SUPER_RESOLUTION:
            kept._enter(KEEP_INPUT, problem.image, "")
            kept._enter(HALF_RESTORED, Image((problem.image.pixels + problem.truth.pixels) / 2), "")
        base = problem.truth.pixels if rng.random() < 0.5 or not kept.results else problem.image.pixels
        failure = list(FAILURES)[int(rng.integers(len(FAILURES)))]
        failed = FAILURES[failure](to_numpy(base), rng)
        kept._enter(FAILURE_PREFIX + failure, _stored(failed), "")
        return kept

    @classmethod
    def load(cls, file: Path) -> StoredStep:
        """Load a step that `save` has written."""
        with np.load(file) as arrays:
            table = json.loads(arrays["table"].tobytes())
            image, truth = (Image(from_numpy(to_float(arrays[name]))) for name in ("image", "truth"))
            rows = {current_candidate(name): row for name, row in table["rows"].items()}
            results = dict(zip(rows, arrays["results"], strict=True))
        return cls(Problem(image, truth, Task(table["task"]), table["scale"]), results, rows)

    def save(self, file: Path) -> None:
        """Write the step to a file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        table = {"task": self.problem.task.value, "scale": self.problem.scale, "rows": self.rows}
        with atomic_write(file, suffix=".npz") as temporary:
            np.savez(
                temporary,
                table=np.frombuffer(json.dumps(table).encode(), np.uint8),
                image=to_uint8(to_numpy(self.problem.image.pixels)),
                truth=to_uint8(to_numpy(self.problem.truth.pixels)),
                results=np.stack([self.results[name] for name in self.rows]),
            )

    def bring_up_to_date(self) -> bool:
        """Run the experts that are new or have changed, delete the results of removed ones, and measure missing
        features. Returns whether anything changed.
        """
        versions = _versions(self.problem.task, self.problem.scale)
        known = {name: row["version"] for name, row in self.rows.items() if row["version"]}
        unmeasured = [name for name, row in self.rows.items() if handcrafted_of(row).keys() != _measured()]
        for name in unmeasured:
            result = Image(from_numpy(to_float(self.results[name])))
            self.rows[name]["handcrafted"] = dict(extract_features(result, crops_of(self.problem.image)).handcrafted)
        if known == versions:
            return bool(unmeasured)
        for name in known.keys() - versions.keys():
            del self.rows[name], self.results[name]
        for name in versions:
            if known.get(name) != versions[name]:
                self.rows.pop(name, None)
                try:
                    result = run_expert(_pool().get(name), self.problem.image, ProgressToken())
                except (ExpertError, WeightsError):
                    continue
                self._enter(name, result, versions[name])
        return True

    def candidates(self, group: int) -> list[DatasetCandidate]:
        """The candidates of the step."""
        image, task = self.problem.image, self.problem.task
        crops = crops_of(image)
        before = enlarged(extract_features(image, crops), image, self.problem.scale)
        return [
            DatasetCandidate(
                group,
                task,
                name,
                ImageFeatures(
                    handcrafted_of(row),
                    extract_patches(Image(from_numpy(to_float(self.results[name]))), crops),
                    crops,
                ),
                before,
                row["consistency"],
                row["psnr_db"],
                row["ssim"],
            )
            for name, row in self.rows.items()
        ]

    def _enter(self, name: str, result: Image, version: str) -> None:
        problem = self.problem
        self.results[name] = to_uint8(to_numpy(result.pixels))
        self.rows[name] = {
            "version": version,
            "handcrafted": dict(extract_features(result, crops_of(problem.image)).handcrafted),
            "consistency": consistency(problem.task, problem.image, result),
            "psnr_db": psnr(result, problem.truth),
            "ssim": ssim_y(result, problem.truth),
        }


@cache
def _versions(task: Task, scale: int) -> Mapping[str, str]:
    """The version of each expert for a task."""
    return {card.name: card_version(card) for card in _pool().runnable(task, scale)}


@cache
def _measured() -> Set[str]:
    """The names of the handcrafted features."""
    return extract_features(Image(from_numpy(np.zeros((8, 8, 3), np.float32)))).handcrafted.keys()


def card_version(card: ExpertCard) -> str:
    """A hash of the card, and of the weights if they are shipped."""
    data = (WEIGHTS / card.weights).read_bytes() if isinstance(card, SpandrelCard) and card.weights else b""
    return hashlib.sha256(card.model_dump_json().encode() + data).hexdigest()[:12]


@cache
def _pool() -> ExpertPool:
    return ExpertPool()


def _patch(pixels: FloatArray, rng: np.random.Generator, largest: int) -> FloatArray:
    """A random square crop; its side is at most `largest` pixels and a multiple of 4."""
    side = min(largest, min(pixels.shape[:2])) // 4 * 4
    top, left = (int(rng.integers(size - side + 1)) for size in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def _stored(pixels: FloatArray) -> Image:
    return Image(from_numpy(to_float(to_uint8(pixels))))
