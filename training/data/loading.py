"""Training pairs: random patches of photos, degraded on the fly by what the recipe asks for."""

from __future__ import annotations

import itertools
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from imaging.convert import to_float

Bytes = NDArray[np.uint8]
Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Input and target, (h, w, 3) and (h * scale, w * scale, 3) in [0, 1]."""
Degrader = Callable[[Bytes, np.random.Generator], Pair]
"""Makes a training pair of a clean patch."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
LAST_SCENE = 48
"""Last scene of the real pairs used to train experts."""
HELD_OUT = 24
HELD_OUT_FOLDER = "held_out"
"""Pictures in folders of this name are never trained on; if there is one, only they are held out."""
AHEAD = 24
"""Number of batches made in advance."""
SUFFIXES = (".webp", ".png", ".jpg")


def photo_files(folder: Path) -> list[Path]:
    """Every picture below a folder, by name."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(
            f"no pictures ({', '.join(SUFFIXES)}) below {folder}; --data names the folder of photos"
        )
    return files


def split(files: list[Path], seed: int = 0) -> tuple[list[Path], list[Path]]:
    """(for training, held out); the same ones every time.

    Files in folders called `held_out` are held out, or a random choice if there is no such folder. A crop, whose name
    begins with its photo's name, is not trained on if its photo is held out, nor the reverse.
    """
    held_out = [file for file in files if file.parent.name == HELD_OUT_FOLDER]
    if not held_out:
        order = np.random.default_rng(seed).permutation(len(files))
        held_out = [files[index] for index in order[: min(HELD_OUT, len(files) // 4)]]
    return [file for file in files if not any(related(file, other) for other in held_out)], held_out


def related(file: Path, other: Path) -> bool:
    """Whether, by their names, the files are the same or one is a crop of the other."""
    return file.stem.startswith(other.stem) or other.stem.startswith(file.stem)


def load_photos(files: list[Path], cache: Path) -> list[Bytes]:
    """Pictures as (H, W, 3) bytes.

    They are decoded once, into a file in `cache`, and mapped from it: several trainings share one copy in memory.
    """
    listing = "".join(f"{file} {file.stat().st_size}\n" for file in files)
    pack = cache / f"photos-{zlib.crc32(listing.encode()):08x}.npy"
    if not pack.exists():
        _pack(files, pack)
    pixels = np.load(pack, mmap_mode="r")
    shapes = np.load(pack.with_suffix(".shapes.npy"))
    ends = np.cumsum(shapes.prod(axis=1))
    return [pixels[end - shape.prod() : end].reshape(shape) for shape, end in zip(shapes, ends, strict=True)]


def _pack(files: list[Path], pack: Path) -> None:
    with ThreadPoolExecutor() as pool:
        photos = list(pool.map(load_photo, files))
    pack.parent.mkdir(parents=True, exist_ok=True)
    temporary = pack.with_suffix(f".{os.getpid()}.part.npy")
    np.save(pack.with_suffix(".shapes.npy"), np.array([photo.shape for photo in photos]))
    np.save(temporary, np.concatenate([photo.reshape(-1) for photo in photos]))
    temporary.replace(pack)


@dataclass(frozen=True, slots=True)
class Patches:
    """Endless batches of pairs, made ahead of time by threads."""

    photos: list[Bytes]
    degrade: Degrader
    patch: int
    """Side of the target patch in pixels."""
    batch: int
    seed: int

    def batches(self, first: int = 0, workers: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """(B, 3, h, w) inputs and (B, 3, H, W) targets, float32 in [0, 1], from the batch with number `first` on.

        A batch is determined by the seed and its number alone.
        """
        with ThreadPoolExecutor(workers) as pool:
            ahead = deque(pool.submit(self._batch, number) for number in range(first, first + AHEAD))
            for number in itertools.count(first + AHEAD):
                yield ahead.popleft().result()
                ahead.append(pool.submit(self._batch, number))

    def _batch(self, number: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, number])
        chosen = random_photos(self.photos, self.batch, rng)
        pairs = [self.degrade(random_patch(photo, self.patch, rng), rng) for photo in chosen]
        return stack([pair[0] for pair in pairs]), stack([pair[1] for pair in pairs])


def with_real_pairs(make: Degrader, folder: Path, share: float) -> Degrader:
    """`make`, but a `share` of the pairs are real: files of the same name in `folder`/input and /hr.

    Patches are cut at the same place of both; one in ten is grey. Scenes above `LAST_SCENE` are held out.
    """
    files = [file for file in photo_files(folder / "input") if not held_out_pair(file)]
    pairs = [np.concatenate([load_photo(file), load_photo(folder / "hr" / file.name)], 2) for file in files]

    def draw(patch: Bytes, rng: np.random.Generator) -> Pair:
        if rng.random() >= share:
            return make(patch, rng)
        both = to_float(random_patch(pairs[int(rng.integers(len(pairs)))], patch.shape[0], rng))
        if rng.random() < 0.1:
            both = np.repeat(np.stack([both[..., :3] @ LUMA, both[..., 3:] @ LUMA], 2), 3, axis=2)
        return both[..., :3], both[..., 3:]

    return draw


def held_out_pair(file: Path) -> bool:
    """Whether a real pair, whose name ends in the number of its scene, is kept from the training of experts."""
    return int(file.stem[-3:]) > LAST_SCENE


def random_photos(photos: list[Bytes], count: int, rng: np.random.Generator) -> list[Bytes]:
    """A sample of that number, large ones more often."""
    sizes = np.array([photo.shape[0] * photo.shape[1] for photo in photos], np.float64)
    return [photos[index] for index in rng.choice(len(photos), count, p=sizes / sizes.sum())]


def random_patch(photo: Bytes, side: int, rng: np.random.Generator) -> Bytes:
    """A (side, side, 3) piece, rotated and flipped; a photo that is too small is extended by reflection."""
    photo = _at_least(photo, side)
    top = int(rng.integers(photo.shape[0] - side + 1))
    left = int(rng.integers(photo.shape[1] - side + 1))
    patch = np.rot90(photo[top : top + side, left : left + side], int(rng.integers(4)))
    return np.ascontiguousarray(patch[:, ::-1] if rng.random() < 0.5 else patch)


def central_patch(photo: Bytes, side: int) -> Bytes:
    """The (side, side, 3) piece in the middle."""
    photo = _at_least(photo, side)
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def _at_least(photo: Bytes, side: int) -> Bytes:
    missing = [(0, max(0, side - length)) for length in photo.shape[:2]]
    return np.pad(photo, [*missing, (0, 0)], mode="symmetric") if any(after for _, after in missing) else photo


def shrink(picture: Bytes, scale: int) -> Bytes:
    """Bicubic downscaling as in the super-resolution literature (antialiased, rounded to 8 bit)."""
    height, width = picture.shape[0] // scale, picture.shape[1] // scale
    whole = PIL.Image.fromarray(picture[: height * scale, : width * scale])
    return np.asarray(whole.resize((width, height), PIL.Image.Resampling.BICUBIC))


def load_photo(file: Path) -> Bytes:
    """One picture as (H, W, 3) bytes."""
    with PIL.Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def stack(arrays: list[NDArray[np.float32]]) -> Tensor:
    """(h, w, 3) arrays of one size -> (B, 3, h, w), channels last in memory."""
    return torch.from_numpy(np.stack(arrays).transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
