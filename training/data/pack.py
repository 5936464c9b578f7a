"""Make a small selection of the training photos for another machine, as a folder for --data.

    python -m training.data.pack --data DATA/train --output PACK --megabytes 30

Photos of every folder are copied unchanged: a network trained on photos that were compressed again lost fine detail
and 0.1 dB in super-resolution. Of the photos that recipes hold out, the patches that training.data.measure uses are
stored in folders called held_out, so that they are also held out of a training on the pack. The licences of the
photos apply to the pack.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import PIL.Image

from training.data.loading import HELD_OUT_FOLDER, Bytes, central_patch, load_photo, photo_files, related, split
from training.data.measure import SIDE
from training.recipe import load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training photos")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--megabytes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    written = pack(arguments.data, arguments.output, arguments.megabytes, arguments.seed)
    held_out = sum(file.parent.name == HELD_OUT_FOLDER for file in written)
    megabytes = sum(file.stat().st_size for file in written) / 1e6
    print(
        f"{len(written) - held_out} photos and {held_out} held-out patches, {megabytes:.1f} MB in {arguments.output}"
    )


def pack(data: Path, output: Path, megabytes: float, seed: int = 0) -> list[Path]:
    """Write at most that many megabytes (of 1,000,000 bytes) to a new folder, and return the files.

    Raises `FileExistsError` if the folder is not empty, and `ValueError` if the held-out patches alone are too large.
    """
    if output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty; name a new folder as --output")
    files = photo_files(data)
    held_out = _held_out(data)
    measured = {file: _lossless(central_patch(load_photo(file), SIDE)) for file in held_out}
    left = round(megabytes * 1e6) - sum(map(len, measured.values()))
    if left < 0:
        raise ValueError(f"the {len(held_out)} held-out patches exceed {megabytes} megabytes; allow more")
    written = [
        _write(output / file.parent.relative_to(data) / HELD_OUT_FOLDER / f"{file.stem}.webp", encoded)
        for file, encoded in measured.items()
    ]
    training = [file for file in files if not any(related(file, other) for other in held_out)]
    for file in spread(training, seed):
        size = file.stat().st_size
        if size <= left:
            left -= size
            written.append(_write(output / file.relative_to(data), file.read_bytes()))
    return written


def _held_out(data: Path) -> list[Path]:
    """The files that at least one recipe holds out."""
    folders = {data / load_recipe(file).photos for file in RECIPES.glob("*.toml")}
    return sorted({file for folder in folders if folder.is_dir() for file in split(photo_files(folder))[1]})


def spread(files: list[Path], seed: int) -> list[Path]:
    """Shuffle the files so that every prefix has about the same share of the files of each folder."""
    rng = np.random.default_rng(seed)
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    places = {
        file: (place + 0.5) / len(members)
        for members in folders.values()
        for place, file in enumerate(rng.permutation(np.array(members, object)).tolist())
    }
    return sorted(files, key=lambda file: places[file])


def _lossless(pixels: Bytes) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def _write(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


if __name__ == "__main__":
    main()
