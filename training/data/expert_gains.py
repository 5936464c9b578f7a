"""Gains of all experts on pictures whose reference is known; one pass, kept on disk, serves several fits.

    python -m training.data.expert_gains --data DATA/train --real DATA/real/train --output FOLDER --count 1500

Pictures are photographs of `training.camera`, mixtures of the old synthesiser, clean photos and real pairs. Half of
them count twice: as they are, and after a step that helped them, since that is what an agent sees next.
Experts run without self-ensemble. Each picture is a file of its own; a stopped pass can be resumed, and one over
files that are there runs the experts that are new or have other weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imaging.convert import FloatArray, from_numpy, to_float, to_numpy, to_uint8
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from iqa.expert_priors import best_prior, has_prior
from iqa.metrics.psnr import psnr
from iqa.metrics.ssim import ssim_y
from toolbox.card import ExpertCard, SpandrelCard
from toolbox.errors import ExpertError, WeightsError
from toolbox.expert import Expert, run_expert, without_tta
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.camera.conditions import Conditions
from training.camera.photograph import photograph
from training.data.candidate_dataset import card_version
from training.data.degradation_sampling import draw_kinds, single_threaded
from training.data.degradations import degrade, downscale, jpeg
from training.data.loading import Bytes, held_out_pair, photo_files
from training.data.pairs import camera_small, full_resolution_crop, real, web
from training.data.photos import held_out, read_pixels

TASKS = tuple(task for task in Task if task.spec.gain_is_predicted)
SHARES = {
    "camera": 0.3,
    "mixture": 0.14,
    "clean": 0.11,
    "real": 0.07,
    "small": 0.18,
    "web": 0.0,
    "shallow": 0.1,
    "full_resolution": 0.1,
}
"""Of origins; `small` and `web` ones are enlarged, all others keep their size. `shallow`: photographs of a shallow
depth of field, which is meant. `full_resolution`: crops of large sensors at 100 %. `web`: small ones compressed at
another size, drawn only if asked for, so that earlier passes draw the same cases again.
"""
SIDES = 240, 344
"""Long sides of the pictures by default; two thirds are whole photos made that small, the others crops."""
WHOLE = 2 / 3
SECOND = 0.5
"""Share of the pictures that are measured once more after a step that helped."""
CLEAR_DB = 0.3
"""Minimum gain of a step that is taken before the second measurement."""


@dataclass(frozen=True, slots=True)
class Case:
    """A picture with its reference, both (H, W, 3) float32 sRGB in [0, 1]."""

    picture: FloatArray
    reference: FloatArray
    origin: str
    labels: Mapping[str, Any]
    scale: int = 1
    """Scale of the reference relative to the picture."""

    @property
    def starting_point(self) -> FloatArray:
        """The baseline of gains: the picture, enlarged bicubically if the reference is larger."""
        height, width = self.reference.shape[:2]
        return (
            self.picture if self.scale == 1 else to_numpy(resize(from_numpy(self.picture), height, width).clamp(0, 1))
        )


def draw_case(
    photos: list[Path],
    pairs: list[Path],
    rng: np.random.Generator,
    origin: str = "",
    sides: tuple[int, int] = SIDES,
) -> Case:
    """One case of that or a random origin; held-out photos give cases that only measure (see `training.photos`)."""
    origin = origin or str(rng.choice(list(SHARES), p=list(SHARES.values())))
    if origin == "real" and pairs:
        return _real_case(pairs[int(rng.integers(len(pairs)))], rng)
    photo = photos[int(rng.integers(len(photos)))]
    clean = _subject(read_pixels(photo), rng, sides)
    labels: dict[str, Any] = {"photo": photo.stem, "held_out": held_out(photo)}
    if origin == "mixture":
        kinds = [kind for kind in draw_kinds(rng) if kind.task in TASKS]
        picture = clean
        for kind in kinds:
            picture, _ = degrade(picture, kind, rng)
        return Case(_rounded(picture), clean, origin, {**labels, "kinds": [kind.value for kind in kinds]})
    if origin == "clean":
        return _clean_case(clean, labels, rng)
    if origin == "small":
        return _small_case(clean, labels, rng)
    if origin == "web":
        scale = int(rng.choice([2, 4]))
        picture, reference = web(_whole_multiple(clean, scale), scale, rng)
        return Case(_rounded(picture), reference, origin, labels, scale)
    if origin == "full_resolution":
        clean = full_resolution_crop(read_pixels(photo), int(rng.integers(*sides)), rng)
    draw = {"shallow": Conditions.shallow, "full_resolution": Conditions.full_resolution}.get(origin, Conditions.draw)
    conditions = draw(rng)
    taken = photograph(clean, conditions, rng)
    return Case(_rounded(taken.picture), taken.reference, origin, {**labels, **asdict(taken.conditions)})


def _subject(pixels: FloatArray, rng: np.random.Generator, sides: tuple[int, int]) -> FloatArray:
    side = int(rng.integers(*sides))
    height, width = pixels.shape[:2]
    if rng.random() < WHOLE:
        scale = min(1.0, side / max(height, width))
        return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)
    side = min(side, height, width)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def _clean_case(clean: FloatArray, labels: dict[str, Any], rng: np.random.Generator) -> Case:
    """A clean picture, in colour or grey, as PNG or a good JPEG."""
    if rng.random() < 0.4:
        clean = np.repeat(cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)[:, :, None], 3, 2)
    picture = jpeg(clean, int(rng.integers(90, 99))) if rng.random() < 0.4 else clean
    return Case(_rounded(picture), clean, "clean", labels)


def _small_case(clean: FloatArray, labels: dict[str, Any], rng: np.random.Generator) -> Case:
    """A picture to be enlarged 2 or 4 times: only reduced, in colour or grey, or as cameras and the web store it."""
    scale = int(rng.choice([2, 4]))
    patch, chance = _whole_multiple(clean, scale), rng.random()
    if chance < 0.5:
        grey = rng.random() < 0.4
        reference = to_float(patch)
        if grey:
            reference = np.repeat(cv2.cvtColor(reference, cv2.COLOR_RGB2GRAY)[:, :, None], 3, 2)
        picture = downscale(reference, scale, str(rng.choice(["bicubic", "bicubic", "area", "lanczos"]))).clip(0, 1)
        if rng.random() < 0.3:
            picture = jpeg(picture, int(rng.integers(88, 99)))
        return Case(_rounded(picture), reference, "small", {**labels, "kind": "reduced", "grey": bool(grey)}, scale)
    make = real if chance < 0.7 else camera_small
    picture, reference = make(patch, scale, rng)
    return Case(_rounded(picture), reference, "small", {**labels, "kind": make.__name__}, scale)


def _whole_multiple(pixels: FloatArray, scale: int) -> Bytes:
    height, width = (side // scale * scale for side in pixels.shape[:2])
    return to_uint8(pixels[:height, :width])


def _real_case(file: Path, rng: np.random.Generator) -> Case:
    both = [read_pixels(path) for path in (file, file.parent.parent / "hr" / file.name)]
    side = int(rng.integers(256, both[0].shape[0] + 1))
    top, left = (int(value) for value in rng.integers(both[0].shape[0] - side + 1, size=2))
    picture, reference = (np.ascontiguousarray(one[top : top + side, left : left + side]) for one in both)
    if rng.random() < 0.5:
        picture = jpeg(picture, int(rng.integers(60, 97)))
    if rng.random() < 0.5:
        picture, reference = (np.ascontiguousarray(one[:, ::-1]) for one in (picture, reference))
    return Case(_rounded(picture), reference, "real", {"photo": file.stem, "held_out": file.stem.endswith("0")})


def _rounded(pixels: FloatArray) -> FloatArray:
    return to_float(to_uint8(pixels))


def measure(
    case: Case, table: dict[str, Any] | None = None, only: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """PSNR (dB) and SSIM of the picture and of what every expert makes of it, and the results by expert.

    Of a `table` that is there, rows of experts that are still the same are taken over. `only`: names of the experts
    to run; all where it is empty.
    """
    before, reference = (Image(from_numpy(pixels)) for pixels in (case.picture, case.reference))
    start = Image(from_numpy(case.starting_point))
    known = table["experts"] if table else {}
    table = {"psnr": psnr(start, reference), "ssim": ssim_y(start, reference), "experts": {}}
    results: dict[str, FloatArray] = {}
    for task in TASKS if case.scale == 1 else (Task.SUPER_RESOLUTION,):
        for name, version, same in _experts(task, case.scale):
            if name in known and known[name]["version"] == version:
                table["experts"][name] = known[name]
                continue
            if only and name not in only:
                continue
            if same not in results:
                try:
                    results[same] = to_numpy(run_expert(_expert(name), before, ProgressToken()).pixels)
                except (ExpertError, WeightsError):
                    continue
            results[name] = results[same]
            result = Image(from_numpy(results[name]))
            row = {"psnr": psnr(result, reference), "ssim": ssim_y(result, reference)}
            table["experts"][name] = {"task": task.value, "version": version, **row}
    return table, results


def measure_case(
    number: int,
    photos: list[Path],
    pairs: list[Path],
    seed: int,
    folder: Path,
    only: Sequence[str] = (),
    origin: str = "",
    sides: tuple[int, int] = SIDES,
) -> Path:
    """Draw and measure the case of that number, and its second stage; write both to files."""
    file = folder / f"{seed}-{number:05}.npz"
    second = file.with_stem(file.stem + "b")
    if file.exists():
        for there in (one for one in (file, second) if one.exists()):
            case, table = load_case(there)
            _write(there, case, measure(case, table, only)[0])
        return file
    rng = np.random.default_rng([seed, number])
    case = draw_case(photos, pairs, rng, origin, sides)
    table, results = measure(case, only=only)
    if not table["experts"]:
        return file
    helpful = _helpful(table)
    if helpful and case.scale == 1 and rng.random() < SECOND:
        first = str(rng.choice(helpful))
        after = Case(_rounded(results[first]), case.reference, case.origin, {**case.labels, "after": first})
        _write(second, after, measure(after, only=only)[0])
    _write(file, case, table)
    return file


def _helpful(table: dict[str, Any]) -> list[str]:
    """The best expert of each task that gains clearly."""
    rows = table["experts"]
    best = {rows[name]["task"]: name for name in sorted(rows, key=lambda name: float(rows[name]["psnr"]))}
    return [name for name in best.values() if rows[name]["psnr"] > table["psnr"] + CLEAR_DB]


def load_case(file: Path) -> tuple[Case, dict[str, Any]]:
    """A case with its table."""
    with np.load(file) as arrays:
        about = json.loads(arrays["about"].tobytes())
        pixels = [to_float(arrays[name]) for name in ("picture", "reference")]
    return Case(pixels[0], pixels[1], about["origin"], about["labels"], about["scale"]), about["table"]


def case_files(folder: Path) -> list[Path]:
    """The files of all cases of a folder, by number."""
    return [file for file in sorted(folder.glob("*.npz")) if ".part" not in file.name]


def _write(file: Path, case: Case, table: Mapping[str, Any]) -> None:
    about = {"origin": case.origin, "labels": dict(case.labels), "scale": case.scale, "table": table}
    partial_file = file.with_suffix(".part.npz")
    np.savez(
        partial_file,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        picture=to_uint8(case.picture),
        reference=to_uint8(case.reference),
    )
    partial_file.replace(file)


@cache
def _pool() -> ExpertPool:
    return ExpertPool()


@cache
def _expert(name: str) -> Expert:
    return without_tta(_pool().get(name))


@cache
def _experts(task: Task, scale: int) -> tuple[tuple[str, str, str], ...]:
    """Names of the experts for a task, what each is now, and the name of what gives the same result: its weights.

    Those that came nearer to the truth than their rivals, and new ones; the others are not worth their time.
    """
    cards = [
        card
        for card in _pool().runnable(task, scale)
        if not has_prior(task, card.name) or best_prior(task, card.name) > 0
    ]
    return tuple((card.name, card_version(card), _same_result_as(card)) for card in cards)


def _same_result_as(card: ExpertCard) -> str:
    if isinstance(card, SpandrelCard):
        return f"{card.weights or card.name} {card.preprocessor}"
    return card.name


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training photos")
    parser.add_argument("--real", type=Path, help="folder of real pairs (input/ and hr/)")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--experts", nargs="*", default=(), help="only these, for many pictures in little time")
    parser.add_argument("--origin", default="", choices=["", *SHARES], help="only cases of this origin")
    parser.add_argument("--sides", type=int, nargs=2, default=SIDES, help="range of the long sides of pictures")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    photos = photo_files(arguments.data)
    pairs = [file for file in photo_files(arguments.real / "input") if held_out_pair(file)] if arguments.real else []
    run = partial(
        measure_case,
        photos=photos,
        pairs=pairs,
        seed=arguments.seed,
        folder=arguments.output,
        only=tuple(arguments.experts),
        origin=arguments.origin,
        sides=tuple(arguments.sides),
    )
    with get_context("spawn").Pool(arguments.workers, initializer=single_threaded) as pool:
        for done, _ in enumerate(pool.imap_unordered(run, range(arguments.count)), 1):
            if done % 50 == 0:
                print(f"{done} of {arguments.count}", flush=True)


if __name__ == "__main__":
    main()
