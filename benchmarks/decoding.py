"""Cost of decoding in a separate process, and effect of damaged files of every format on the parent.

    python -m benchmarks.decoding --files FOLDER --minutes 10

Cost: processor time of reading a JPEG of 12 megapixels through the decoding process, against the same work in this
process, in turns. Fuzzing: files of the folder, and one of every format, with bytes changed, cut out, repeated or
swapped for those of another file. Every read must give a picture or one `ImageError`, and this process must not grow.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import PIL.Image
import psutil
import skimage.data

from benchmarks.report import reported
from imaging.convert import from_numpy, to_float
from imaging.decoding.decode import decode
from imaging.decoding.decoded import Decoded, Samples
from imaging.errors import ImageError
from imaging.image import Image
from imaging.limits import Limits
from imaging.output import FORMAT_OF
from imaging.reading import READABLE, read_image
from imaging.writing import encode_image

READS, TURNS = 5, 6
LARGEST_SEED = 300_000
SMALL = Limits(max_pixels=4_000_000)
MEGABYTE = 1 << 20


class _Local:
    """The interface of `imaging.decoding.process.Answer`, for an image that was decoded here."""

    def __init__(self, decoded: Decoded) -> None:
        self.height, self.width, self.channels = decoded.samples.shape
        self.bit_depth, self.metadata = decoded.bit_depth, decoded.metadata
        self._samples, self._place = decoded.samples, 0

    def rows(self, count: int) -> Samples:
        """The next rows."""
        self._place += count
        return self._samples[self._place - count : self._place]


@contextmanager
def _here(data: bytes, name: str, suffix: str, limits: Limits, page: int | None, token: object) -> Iterator[_Local]:
    yield _Local(decode(data, name, suffix, limits, page))


def photo_jpeg() -> bytes:
    """A JPEG of 4000 x 3000 with the noise of a camera."""
    photo = PIL.Image.fromarray(skimage.data.astronaut()).resize((4000, 3000), PIL.Image.Resampling.BICUBIC)
    noisy = np.asarray(photo) + np.random.default_rng(0).integers(-6, 7, (3000, 4000, 3))
    stream = io.BytesIO()
    PIL.Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def processor_seconds(read: Callable[[], object]) -> float:
    """Processor time of this process and its children for one read, the mean of several."""
    before = _used()
    for _ in range(READS):
        read()
    return (_used() - before) / READS


def _used() -> float:
    times = [psutil.Process().cpu_times(), *(child.cpu_times() for child in psutil.Process().children())]
    return float(sum(one.user + one.system for one in times))


def print_cost() -> None:
    """Print a row for both ways, and the median of their ratio."""
    data, here, there = photo_jpeg(), list[float](), list[float]()
    for _ in range(TURNS + 1):
        with patch("imaging.reading.decoding", _here):
            here.append(processor_seconds(lambda: read_image(data)))
        there.append(processor_seconds(lambda: read_image(data)))
    ratios = [far / near for near, far in zip(here[1:], there[1:], strict=True)]  # the first turn starts the process
    print("| 12 megapixels, JPEG | processor seconds |\n| --- | --- |")
    print(f"| in this process | {median(here[1:]):.3f} |")
    print(f"| in the decoding process | {median(there[1:]):.3f} |")
    print(
        f"\nRatio: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f} of {TURNS} turns.\n",
        flush=True,
    )


def _seeds(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the small pictures in a folder, and of a picture in each format that can be written."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in READABLE and path.is_file() and 0 < path.stat().st_size <= LARGEST_SEED:
            yield path.name, path.read_bytes()
    colours = skimage.data.astronaut()[::8, ::8]
    for suffix, kind in FORMAT_OF.items():
        yield f"made{suffix}", encode_image(Image(from_numpy(to_float(colours))), kind)
    for suffix, kind in (("jp2", "JPEG2000"), ("tga", "TGA"), ("ppm", "PPM"), ("gif", "GIF")):
        stream = io.BytesIO()
        PIL.Image.fromarray(colours).save(stream, kind)
        yield f"made.{suffix}", stream.getvalue()


def mutated(data: bytes, other: bytes, chance: np.random.Generator) -> bytes:
    """A file with a few changes of one kind; half of them near its head."""
    changed, count = bytearray(data), int(chance.integers(1, 9))
    reach = min(len(data), 256) if chance.random() < 0.5 else len(data)
    places = chance.integers(0, reach, count)
    match int(chance.integers(5)):
        case 0:
            for place in places:
                changed[place] = int(chance.integers(256))
        case 1:
            for place in places:
                changed[place] ^= 1 << int(chance.integers(8))
        case 2:
            del changed[int(places[0]) :]
        case 3:
            end = int(places[0] + chance.integers(1, 64))
            changed[places[0] : end] = changed[places[0] : end] * int(chance.integers(0, 4))
        case _:
            start = int(chance.integers(len(other)))
            changed[places[0] : places[0] + 64] = other[start : start + 64]
    return bytes(changed)


def print_fuzzing(folder: Path, minutes: float) -> None:
    """Print counts of outcomes, the longest read, and the growth of this process."""
    kinds: dict[str, list[tuple[str, bytes]]] = {}
    for name, data in _seeds(folder):
        kinds.setdefault(Path(name).suffix.lower(), []).append((name, data))
    chance, outcomes, unexpected = np.random.default_rng(0), Counter[str](), Counter[str]()
    slowest, sizes, end = 0.0, list[int](), time.monotonic() + 60 * minutes
    everything = [data for files in kinds.values() for _, data in files]
    while time.monotonic() < end:
        files = list(kinds.values())[int(chance.integers(len(kinds)))]
        name, data = files[int(chance.integers(len(files)))]
        data = mutated(data, everything[int(chance.integers(len(everything)))], chance)
        start = time.monotonic()
        try:
            read_image(data, SMALL, name=name)
            outcomes["a picture"] += 1
        except ImageError as error:
            outcomes[type(error).__name__] += 1
        except Exception as error:
            unexpected[f"{name}: {error!r}"] += 1
        slowest = max(slowest, time.monotonic() - start)
        if sum(outcomes.values()) % 100 == 0:
            sizes.append(psutil.Process().memory_info().rss // MEGABYTE)
    _print_outcomes(minutes, outcomes, unexpected, kinds)
    handles, children = psutil.Process().num_fds(), len(psutil.Process().children())
    print(
        f"\nLongest read {slowest:.1f} s. This process: {sizes[len(sizes) // 10]} MB after a tenth of the time,"
        f" {sizes[-1]} MB at the end, {max(sizes)} MB at most; at the end {handles} open files, {children} children."
    )


def _print_outcomes(
    minutes: float, outcomes: Counter[str], unexpected: Counter[str], kinds: dict[str, list[Any]]
) -> None:
    total = sum(outcomes.values()) + sum(unexpected.values())
    seeds = sum(map(len, kinds.values()))
    print(f"{total} reads of damaged files in {minutes:g} minutes, made of {seeds} files of {len(kinds)} suffixes:\n")
    print("| outcome | reads |\n| --- | --- |")
    for outcome, count in outcomes.most_common():
        print(f"| {outcome} | {count} |")
    print(f"| anything else | {sum(unexpected.values())} |")
    for what, count in unexpected.most_common(20):
        print(f"\n{count} times {what}")


@reported("decoding", "Decoding in a process of its own: cost, and damaged files")
def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, required=True, help="folder of small pictures of all formats")
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print_cost()
    print_fuzzing(arguments.files, arguments.minutes)


if __name__ == "__main__":
    main()
