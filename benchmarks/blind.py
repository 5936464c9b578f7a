"""A page on which a person picks the better of two results without knowing whose they are.

    python -m benchmarks.blind OURS THEIRS --output blind.html --data INPUTS --names ours x4plus

OURS and THEIRS are folders with pictures of the same names; `--data` adds the pictures that both were made from. The
page is self-contained. Sides and order are drawn from the seed; at the end it shows how often each won, with the 95 %
confidence interval of the share (Wilson score), where a tie counts half for each.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL.Image

SUFFIXES = (".png", ".webp", ".jpg")
PAGE = Path(__file__).parent / "blind.html"
WEBP_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Pair:
    """One question: two results as data URIs, and which of the folders is on which side."""

    name: str
    left: str
    right: str
    first_is_left: bool
    given: str = ""
    """The picture that both were made from."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder with the inputs")
    parser.add_argument("--names", nargs=2, default=("A", "B"), help="of the two folders, shown at the end")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pairs = draw_pairs(arguments.first, arguments.second, arguments.data, arguments.seed)
    arguments.output.write_text(page(pairs, arguments.names), "utf-8")
    print(f"{arguments.output}: {len(pairs)} pairs")


def draw_pairs(first: Path, second: Path, data: Path | None, seed: int) -> list[Pair]:
    """The pictures that both folders have, in random order and on random sides.

    Raises `FileNotFoundError` if they have none in common, and `ValueError` if two have different sizes.
    """
    of_first, of_second, of_data = _pictures(first), _pictures(second), _pictures(data) if data else {}
    names = sorted(of_first.keys() & of_second.keys())
    if not names:
        raise FileNotFoundError(f"{first} and {second} have no pictures of the same name")
    rng, pairs = np.random.default_rng(seed), []
    for name in rng.permutation(names):
        files, first_is_left = (of_first[name], of_second[name]), bool(rng.random() < 0.5)
        sizes = [_size(file) for file in files]
        if sizes[0] != sizes[1]:
            raise ValueError(f"{files[0]} has {sizes[0]} pixels and {files[1]} {sizes[1]}: sizes must be equal")
        left, right = map(_data_uri, files if first_is_left else files[::-1])
        given = _data_uri(of_data[name]) if name in of_data else ""
        pairs.append(Pair(str(name), left, right, first_is_left, given))
    return pairs


def page(pairs: Sequence[Pair], names: Sequence[str]) -> str:
    """The page in HTML."""
    questions = json.dumps({"names": list(names), "pairs": [asdict(pair) for pair in pairs]}).replace("<", "\\u003c")
    return PAGE.read_text("utf-8").replace("{{ questions }}", questions)


def _pictures(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES}


def _size(file: Path) -> tuple[int, int]:
    with PIL.Image.open(file) as picture:
        return picture.size


def _data_uri(file: Path) -> str:
    """The picture as WebP, without name or metadata, which would reveal whose it is."""
    with PIL.Image.open(file) as picture:
        content = io.BytesIO()
        picture.convert("RGB").save(content, "WEBP", quality=WEBP_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode("ascii")


if __name__ == "__main__":
    main()
