"""Clean photos as input: distance of the result from a plain enlargement, and the steps that were not needed.

    python -m benchmarks.clean --data DATA/bench/bsd100/hr --photos 8 [--scale 2] [--side 120]

PSNR (RGB) of the default profile's result against the photo itself; with --scale, against the result of the
profile's super-resolution alone, and in brackets against bicubic enlargement (from which a good result must differ).
--side reduces the photos to thumbnails first. These photos have no degradations: every step except super-resolution
is superfluous.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from agent.run import Restoration
from agent.state import KEEP_INPUT
from benchmarks.agent_on import restored_by_agent
from benchmarks.report import reported
from imaging.image import Image
from imaging.reading import read_image
from imaging.resizing import fitted, resize
from iqa.metrics.psnr import psnr
from profiles.loading import load_profile
from profiles.schema import Profile
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

NEAR_DB = 40.0


def enlarged_alone(photo: Image, scale: int, profile: Profile, experts: ExpertPool) -> Image:
    """The photo after super-resolution and nothing else."""
    alone = profile.model_copy(update={"restore_option": (Task.SUPER_RESOLUTION,), "face_restore": False})
    return restored_by_agent(photo, scale, alone, experts)[0] if scale > 1 else photo


def reduced(photo: Image, side: int | None) -> Image:
    """The photo with that longer side."""
    return (
        photo if side is None else photo.with_pixels(resize(photo.pixels, *fitted(photo.height, photo.width, side)))
    )


def steps_of(run: Restoration) -> tuple[list[str], bool]:
    """The steps that were taken, and whether they changed more than the size."""
    taken = [node for node in run.path_taken() if node.step and node.expert != KEEP_INPUT]
    lines = [f"{node.step}: {node.expert}" for node in taken]
    return lines, any(node.step.task is not Task.SUPER_RESOLUTION for node in taken if node.step)


@reported("clean", "Clean photos that the agent leaves unchanged", preformatted=True)
def main() -> None:
    """Print a line for every photo, and counts over all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of clean photos")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--scale", type=int, default=1, choices=(1, 2, 4, 8, 16))
    parser.add_argument("--side", type=int, help="reduce the photos to this longer side")
    parser.add_argument("--profile", default="default")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.data.rglob("*") if path.suffix in (".png", ".webp", ".jpg"))
    chosen = np.random.default_rng(0).choice(len(files), min(arguments.photos, len(files)), replace=False)
    profile, experts = load_profile(arguments.profile), ExpertPool()
    distances, changed = list[float](), 0
    name = "the photo" if arguments.scale == 1 else f"plain super-resolution {arguments.scale}x"
    for index in chosen:
        photo = reduced(read_image(files[index]), arguments.side)
        result, _, run = restored_by_agent(photo, arguments.scale, profile, experts)
        lines, was_restored = steps_of(run)
        distances.append(psnr(result, enlarged_alone(photo, arguments.scale, profile, experts)))
        bicubic = psnr(result, photo.with_pixels(resize(photo.pixels, result.height, result.width)))
        changed += was_restored
        print(
            f"{files[index].name:24}{distances[-1]:8.2f} dB ({bicubic:.2f})  {' > '.join(lines) or 'nothing'}",
            flush=True,
        )
    near = f"{sum(db >= NEAR_DB for db in distances)} of {len(distances)}"
    print(f"\n{near} within {NEAR_DB:g} dB of {name}, the furthest {min(distances):.2f}")
    print(f"{changed} restored although nothing was wrong")


if __name__ == "__main__":
    main()
