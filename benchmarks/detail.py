"""Cost of texture: blends of a faithful 4x enlargement with one that generates texture, on held-out photos.

    python -m benchmarks.detail --data DATA

The held-out photos of DATA are reduced bicubically, and in further tables with light noise and compression, as small
photographs of a camera, and compressed at another size. High frequencies are those of the enlargement relative to the
photo's.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import reported
from imaging.convert import from_numpy
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from iqa.metrics.psnr import psnr
from toolbox.expert import Expert, without_tta
from toolbox.pool import ExpertPool
from training.data.loading import Pair, load_photo, photo_files, random_patch, split
from training.data.pairs import degrader
from training.networks.distill import high_frequencies

FAITHFUL, BLIND = "restore4k_sr_x4", "restore4k_sr_x4_real"
SMALL, LARGE = "restore4k_sr_x4_texture", "realesrgan_x4"
DETAILS, DEFAULT = (0.25, 0.4, 0.5, 0.7), 0.4
KINDS = {
    "bicubic": (320, FAITHFUL),
    "mild": (256, FAITHFUL),
    "camera_small": (320, BLIND),
    "web": (320, BLIND),
}
"""Side of the crop of a photo, and the faithful network of the blends, by degradation; targets of `mild` have half of
the side.
"""
TIMED_SIDE = 192


@reported("detail", "Texture against fidelity in 4x enlargements")
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of photos, as training has it")
    arguments = parser.parse_args()
    pool = ExpertPool()
    experts = {name: without_tta(pool.get(name)) for name in (FAITHFUL, BLIND, SMALL, LARGE)}
    _, files = split(photo_files(arguments.data))
    for kind, (side, faithful) in KINDS.items():
        make, rng = degrader(kind, 4), np.random.default_rng(0)
        pairs = [make(random_patch(load_photo(file), side, rng), rng) for file in files]
        print(f"## {len(pairs)} photos, {kind}\n")
        print("| enlargement | PSNR of RGB | least above bicubic | high frequencies |\n|---|---|---|---|")
        show(pairs, experts, faithful)
    print("## Time\n\n| network | seconds per megapixel of the input |\n|---|---|")
    for name, expert in experts.items():
        print(f"| {name} | {seconds_per_megapixel(expert):.1f} |")


def show(pairs: list[Pair], experts: dict[str, Expert], faithful: str) -> None:
    """Print the rows of a table for pairs of a small picture and its original.

    In the product, a large network generates texture beside a blind one, a small one beside others.
    """
    found = defaultdict[str, list[tuple[float, float, float]]](list)
    for given, photo in pairs:
        small, original = from_numpy(given), from_numpy(photo)
        results = {"bicubic": resize(small, *original.shape[1:]).clamp(0, 1)}
        results |= {name: run(expert, small) for name, expert in experts.items()}
        plain = results[faithful]
        reduced = run(experts[SMALL], resize(plain, *small.shape[1:]).clamp(0, 1))
        chosen = results[LARGE] if faithful == BLIND else reduced
        for share in DETAILS:
            results[f"blend of {faithful} as in the product, detail {share}"] = plain.lerp(chosen, share)
        others = {f"{SMALL} on the input": results[SMALL], f"{SMALL} on the result": reduced, LARGE: results[LARGE]}
        for name, textured in others.items():
            results[f"blend with {name}, detail {DEFAULT}"] = plain.lerp(textured, DEFAULT)
        least = psnr(Image(results["bicubic"]), Image(original))
        for name, result in results.items():
            value = psnr(Image(result), Image(original))
            found[name].append((value, value - least, amplitude(result) / amplitude(original)))
    for name, rows in found.items():
        values, gains, shares = zip(*rows, strict=True)
        print(f"| {name} | {fmean(values):.2f} | {min(gains):+.2f} | {fmean(shares):.2f} |")
    print()


def run(expert: Expert, small: Tensor) -> Tensor:
    """An expert's result on (3, H, W) pixels."""
    return expert(Image(small), ProgressToken()).pixels.float().clamp(0, 1)


def amplitude(pixels: Tensor) -> float:
    """Mean amplitude of the high frequencies of (3, H, W) pixels."""
    return float(high_frequencies(pixels[None]).abs().mean())


def seconds_per_megapixel(expert: Expert) -> float:
    """The shorter time of two runs."""
    picture, seconds = torch.rand(3, TIMED_SIDE, TIMED_SIDE), []
    for _ in range(2):
        began = time.perf_counter()
        run(expert, picture)
        seconds.append(time.perf_counter() - began)
    return min(seconds) * 1e6 / TIMED_SIDE**2


if __name__ == "__main__":
    main()
