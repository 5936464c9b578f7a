"""Real photos enlarged 4x by a profile, beside bicubic enlargement and Real-ESRGAN x4plus alone.

    python -m benchmarks.texture --data BENCH/realsrset BENCH/realesrgan_inputs --output RESULTS

The piece of `--side` pixels with the most detail of each photo is enlarged. RESULTS gets the folders `inputs`,
`expert` and `agent`, which `benchmarks.blind` takes, and `sheets`: bicubic, the expert and the agent side by side at
100 %. The table lists the steps and NIQE (lower is better) of both, and where the piece was taken. Photos that are in
RESULTS already are not restored again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import PIL.Image
import torch

from agent.run import Restoration
from benchmarks.agent_on import restored_by_agent
from benchmarks.report import reported
from imaging.convert import to_numpy, to_uint8
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.resizing import resize
from imaging.writing import write_image
from iqa.features import extract_features
from profiles.loading import load_profile
from profiles.schema import Profile
from toolbox.expert import run_expert
from toolbox.pool import ExpertPool

SCALE = 4
GAP = 4
STRIDE = 8


@dataclass(frozen=True, slots=True)
class Row:
    """What was done with one photo."""

    name: str
    side: int
    left: int
    top: int
    steps: str
    niqe_expert: float
    niqe_agent: float


@reported("texture", "Enlargements with texture")
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of photos without reference")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--profile", default="GenSR-s4-P")
    parser.add_argument("--expert", default="realesrgan_x4")
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--only", nargs="*", help="names of photos; default: all")
    arguments = parser.parse_args()
    profile, pool, rows = load_profile(arguments.profile), ExpertPool(), list[Row]()
    print(f"| photo | piece | steps of {arguments.profile} | NIQE of {arguments.expert} | of {arguments.profile} |")
    print("|---|---|---|---|---|")
    for name, file in _photos(arguments.data):
        if not arguments.only or name in arguments.only:
            row = _row(name, file, profile, arguments.expert, pool, arguments.side, arguments.output)
            rows.append(row)
            piece = f"{row.side} px at {row.left}, {row.top}"
            print(
                f"| {row.name} | {piece} | {row.steps} | {row.niqe_expert:.2f} | {row.niqe_agent:.2f} |", flush=True
            )
    means = (fmean(row.niqe_expert for row in rows), fmean(row.niqe_agent for row in rows))
    print(f"| mean of {len(rows)} | | | {means[0]:.2f} | {means[1]:.2f} |")


def _photos(folders: list[Path]) -> Iterator[tuple[str, Path]]:
    """Each photo once, by its name."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".webp")):
            found.setdefault(file.stem, file)
    yield from found.items()


def _row(name: str, file: Path, profile: Profile, expert: str, pool: ExpertPool, side: int, output: Path) -> Row:
    kept = output / "rows" / f"{name}.json"
    if kept.exists():
        return Row(**json.loads(kept.read_text("utf-8")))
    photo = read_image(file)
    top, left = most_detailed(photo, side)
    piece = photo.with_pixels(photo.pixels[:, top : top + side, left : left + side].contiguous())
    alone = run_expert(pool.get(expert), piece, ProgressToken())
    result, _, restoration = restored_by_agent(piece, SCALE, profile, pool)
    for folder, image in (("inputs", piece), ("expert", alone), ("agent", result)):
        (output / folder).mkdir(parents=True, exist_ok=True)
        write_image(image, output / folder / f"{name}.png", overwrite=True)
    _save_sheet([_enlarged(piece), alone, result], output / "sheets" / f"{name}.png")
    row = Row(name, side, left, top, _steps(restoration), _niqe(alone), _niqe(result))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(asdict(row)), "utf-8")
    return row


def most_detailed(photo: Image, side: int) -> tuple[int, int]:
    """Top and left of the piece of `side` pixels with the largest mean gradient."""
    grey = photo.pixels.mean(dim=0)
    detail = torch.zeros_like(grey)
    detail[:, 1:] += (grey[:, 1:] - grey[:, :-1]).abs()
    detail[1:] += (grey[1:] - grey[:-1]).abs()
    height, width = min(side, photo.height), min(side, photo.width)
    means = torch.nn.functional.avg_pool2d(detail[None], (height, width), STRIDE)[0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return row * STRIDE, column * STRIDE


def _enlarged(image: Image) -> Image:
    return image.with_pixels(resize(image.pixels, image.height * SCALE, image.width * SCALE).clamp(0, 1))


def _niqe(image: Image) -> float:
    return extract_features(image).handcrafted["niqe"]


def _steps(restoration: Restoration) -> str:
    return ", ".join(f"{step.step} by {step.expert}" for step in restoration.summary().steps)


def _save_sheet(images: list[Image], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    gap = np.full((images[0].height, GAP, 3), 255, np.uint8)
    cells = [part for image in images for part in (to_uint8(to_numpy(image.pixels)), gap)]
    PIL.Image.fromarray(np.hstack(cells[:-1])).save(file)


if __name__ == "__main__":
    main()
