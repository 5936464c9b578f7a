"""Pairs for distillation: small degraded patches of photos, and a teacher's results for them.

    python -m training.data.teacher_pairs --data DATA/train --output RUNS/student_pairs --pairs 20000

Writes OUTPUT/00000.npz and so on, of 32 pairs each, and OUTPUT/held_out/ with pairs of held-out photos. Can be
stopped at any time: files that exist are not made again. A file is determined by its number.

With --first-stages, all inputs are cut out of pictures that these experts enlarged, as a second stage sees them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from imaging.atomic import atomic_write
from imaging.convert import from_numpy, to_numpy, to_uint8
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.expert import Expert, without_tta
from toolbox.pool import ExpertPool
from training.data.loading import Bytes, load_photos, photo_files, random_patch, random_photos, split
from training.data.pairs import degrader

MakePairs = Callable[[list[Bytes], Expert, np.random.Generator], Iterator[tuple[Bytes, Bytes]]]

TEACHER = "realesrgan_x4"
SIDE = 64
"""Side of an input in pixels; the receptive field of Compact is 35."""
IN_FILE = 32
HELD_OUT_FILES = 4
HELD_OUT_SEED = 1 << 20
DEGRADATIONS = {"camera_small": 0.35, "second_order": 0.35, "real": 0.1, "bicubic": 0.1}
"""Shares of the inputs; the rest is cut out of earlier answers of the teacher, as a second stage sees them."""
PATCHES_PER_PHOTO = 8
"""Inputs that are cut out of one picture enlarged by a first stage."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training photos")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--teacher", default=TEACHER, help="name of the expert; it runs without self-ensemble")
    parser.add_argument(
        "--first-stages", nargs="+", default=[], metavar="NAME", help="experts; repeated ones run more"
    )
    arguments = parser.parse_args()
    files, held_out = split(photo_files(arguments.data))
    experts = ExpertPool()
    teacher, *first = (without_tta(experts.get(name)) for name in (arguments.teacher, *arguments.first_stages))
    make = partial(second_stage_pairs, first_stages=first) if first else teacher_pairs
    cache = arguments.output.parent
    _make_files(held_out, teacher, make, arguments.output / "held_out", HELD_OUT_FILES, HELD_OUT_SEED, cache)
    _make_files(files, teacher, make, arguments.output, -(-arguments.pairs // IN_FILE), 0, cache)


def _make_files(
    photos: list[Path], teacher: Expert, make: MakePairs, folder: Path, count: int, seed: int, cache: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    loaded = load_photos(photos, cache)
    for number in range(count):
        file = folder / f"{number:05d}.npz"
        if file.exists():
            continue
        began = time.monotonic()
        pairs = list(make(loaded, teacher, np.random.default_rng([seed, number])))
        with atomic_write(file) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream, inputs=np.stack([pair[0] for pair in pairs]), targets=np.stack([pair[1] for pair in pairs])
            )
        print(f"{file}: {(time.monotonic() - began) / IN_FILE:.2f} s per pair", flush=True)


def teacher_pairs(
    photos: list[Bytes], teacher: Expert, rng: np.random.Generator, count: int = IN_FILE
) -> Iterator[tuple[Bytes, Bytes]]:
    """Inputs (64, 64, 3) and the teacher's answers (256, 256, 3)."""
    scale = teacher.card.scale
    names, shares = list(DEGRADATIONS), np.array(list(DEGRADATIONS.values()))
    kinds = rng.choice([*names, "second_stage"], count, p=[*shares, 1 - shares.sum()])
    answer: Bytes | None = None
    for kind, photo in zip(kinds, random_photos(photos, count, rng), strict=True):
        if kind == "second_stage" and answer is not None:
            given = random_patch(answer, SIDE, rng)
        else:
            name = names[0] if kind == "second_stage" else str(kind)
            degraded, _ = degrader(name, scale)(random_patch(photo, SIDE * scale, rng), rng)
            given = to_uint8(degraded)
        answer = _answer(teacher, given)
        yield given, answer


def second_stage_pairs(
    photos: list[Bytes],
    teacher: Expert,
    rng: np.random.Generator,
    count: int = IN_FILE,
    *,
    first_stages: list[Expert],
) -> Iterator[tuple[Bytes, Bytes]]:
    """Inputs (64, 64, 3) out of pictures that one of the experts enlarged, and the teacher's answers."""
    names, shares = list(DEGRADATIONS), np.array(list(DEGRADATIONS.values()))
    for photo in random_photos(photos, -(-count // PATCHES_PER_PHOTO), rng):
        first = first_stages[int(rng.integers(len(first_stages)))]
        name = str(rng.choice(names, p=shares / shares.sum()))
        degraded, _ = degrader(name, first.card.scale)(random_patch(photo, SIDE * first.card.scale, rng), rng)
        enlarged = _answer(first, to_uint8(degraded))
        for _ in range(PATCHES_PER_PHOTO):
            given = random_patch(enlarged, SIDE, rng)
            yield given, _answer(teacher, given)


def _answer(expert: Expert, given: Bytes) -> Bytes:
    return to_uint8(to_numpy(expert(Image(from_numpy(given / np.float32(255))), ProgressToken()).pixels))


def load_pairs(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All pairs of a folder: inputs (N, h, w, 3) and targets (N, H, W, 3)."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise FileNotFoundError(f"no .npz files in {folder}; training.data.teacher_pairs makes them")
    loaded = [load_shard(file) for file in files]
    return np.concatenate([one[0] for one in loaded]), np.concatenate([one[1] for one in loaded])


def load_shard(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pairs of one file, as `load_pairs`."""
    with np.load(file, allow_pickle=False) as shard:
        return shard["inputs"], shard["targets"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
