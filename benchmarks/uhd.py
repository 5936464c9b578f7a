"""UHD photos reduced 4, 8 and 16 times and restored to their size by several profiles: PSNR, SSIM and sheets.

    python -m benchmarks.uhd --data BENCH/uhd/hr --output SHEETS

SHEETS gets a picture per photo and scale with the piece of most detail at 100 %: bicubic enlargement, the profiles in
the order of the table, the photo itself.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import PIL.Image

from benchmarks.agent_on import restored_by_agent
from benchmarks.report import reported
from benchmarks.texture import most_detailed
from imaging.convert import from_numpy, to_float, to_numpy, to_uint8
from imaging.image import Image
from imaging.reading import read_image
from imaging.resizing import resize
from iqa.metrics.psnr import psnr
from iqa.metrics.ssim import ssim_y
from profiles.loading import load_profile
from toolbox.pool import ExpertPool
from training.data.degradations import downscale

SIDE = 480
"""Side of the pieces on the sheets in pixels."""


def restore(photo: Image, scale: int, profiles: list[str], pool: ExpertPool, sheet: Path) -> None:
    """Print a row for bicubic enlargement and for each profile, and save the sheet."""
    small = to_float(to_uint8(downscale(to_numpy(photo.pixels), scale, "bicubic")))
    reduced = Image(from_numpy(small))
    results = {"bicubic": (reduced.with_pixels(resize(reduced.pixels, photo.height, photo.width).clamp(0, 1)), 0.0)}
    for name in profiles:
        start = time.perf_counter()
        result, _, _ = restored_by_agent(reduced, scale, load_profile(name), pool)
        results[name] = (result, time.perf_counter() - start)
    for name, (result, seconds) in results.items():
        psnr_db, ssim = psnr(result, photo), ssim_y(result, photo)
        print(f"| {sheet.stem} | {name} | {psnr_db:.2f} | {ssim:.3f} | {seconds:.0f} |", flush=True)
    top, left = most_detailed(photo, SIDE)
    images = [*(result for result, _ in results.values()), photo]
    pieces = [to_uint8(to_numpy(image.pixels[:, top : top + SIDE, left : left + SIDE])) for image in images]
    sheet.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.hstack(pieces)).save(sheet)


@reported("uhd", "UHD photos reduced and restored")
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of photos with sides that 16 divides")
    parser.add_argument("--output", type=Path, required=True, help="folder of the sheets")
    parser.add_argument("--scales", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--profiles", nargs="+", default=["Gen4K-F", "default", "Gen4K-P"])
    arguments = parser.parse_args()
    pool = ExpertPool()
    print("| photo and scale | result | PSNR (RGB) | SSIM (Y) | seconds |\n|---|---|---|---|---|")
    for file in sorted(arguments.data.iterdir()):
        photo = read_image(file)
        for scale in arguments.scales:
            sheet = arguments.output / f"{file.stem}-{scale}x.png"
            restore(photo, scale, arguments.profiles, pool, sheet)


if __name__ == "__main__":
    main()
