"""Clean photos in: how far the result is from a plain enlargement, and what was done that nobody needed.

    python -m benchmarks.clean --data DATA/bench/bsd100/hr --photos 8 [--scale 2]

PSNR (RGB) of the default profile's result against the photo itself, or against its bicubic enlargement where a scale
is given. Nothing is wrong with these photos: every step but super-resolution is one too many.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np

from agent.run import Restoration
from agent.state import KEEP_INPUT
from benchmarks.agent_on import restored_by_agent
from imaging.image import Image
from imaging.reading import read_image
from imaging.resizing import resize
from iqa.metrics.psnr import psnr
from profiles.loading import load_profile
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

NEAR_DB = 40.0


def distance_db(result: Image, photo: Image) -> float:
    """PSNR against the photo, enlarged to the size of the result."""
    return psnr(result, photo.with_pixels(resize(photo.pixels, result.height, result.width)))


def steps_of(run: Restoration) -> tuple[list[str], bool]:
    """What was done, and whether it changed more than the size."""
    taken = [node for node in run.path_taken() if node.step and node.expert != KEEP_INPUT]
    told = [f"{node.step}: {node.expert}" for node in taken]
    return told, any(node.step.task is not Task.SUPER_RESOLUTION for node in taken if node.step)


def main() -> None:
    """Print a line for every photo, and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of clean photos")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--scale", type=int, default=1, choices=(1, 2, 4, 8, 16))
    parser.add_argument("--profile", default="default")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.data.rglob("*") if path.suffix in (".png", ".webp", ".jpg"))
    chosen = np.random.default_rng(0).choice(len(files), min(arguments.photos, len(files)), replace=False)
    profile, experts = load_profile(arguments.profile), ExpertPool()
    distances, changed = list[float](), 0
    for index in chosen:
        photo = read_image(files[index])
        result, _, run = restored_by_agent(photo, arguments.scale, profile, experts)
        told, was_restored = steps_of(run)
        distances.append(distance_db(result, photo))
        changed += was_restored
        print(f"{files[index].name:24}{distances[-1]:8.2f} dB  {' > '.join(told) or 'nothing'}", flush=True)
    near = f"{sum(db >= NEAR_DB for db in distances)} of {len(distances)}"
    print(f"\n{near} within {NEAR_DB:g} dB of {_reference(arguments.scale)}, the furthest {min(distances):.2f}")
    print(f"{changed} restored although nothing was wrong; {sum(map(math.isinf, distances))} exactly as they were")


def _reference(scale: int) -> str:
    return "the photo" if scale == 1 else f"its bicubic enlargement {scale}x"


if __name__ == "__main__":
    main()
