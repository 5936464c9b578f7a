"""Learn the expert priors for old photos, on photos that are artificially aged.

    python -m training.fits.old_photo --data DATA [--photos 80]

The quality network was not trained on old photos, and prefers the input. So the priors must tell whether an expert is
better than keeping the input, as `training.fits.quality` learns for the other tasks. Photos are converted to grey or
left in colour, toned, faded and scratched; the target is the photo before that. Writes
iqa/old_photo_expert_priors.toml.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from imaging.convert import FloatArray, from_numpy, to_float, to_uint8
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.metrics.psnr import psnr
from iqa.metrics.ssim import ssim_y
from toolbox.expert import run_expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.data.candidate_dataset import KEEP_INPUT, truth_of
from training.data.photos import held_out, photos, read_pixels
from training.fits.quality import expert_priors

SIDE = 384
COLOUR = 0.3
"""Share of photos in colour."""
MOST_SCRATCHES = 6


def aged(pixels: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Age a photo; returns it with the target, both (H, W, 3) in [0, 1].

    It may be toned (if it is grey), faded, and have white or black scratches.
    """
    new = pixels if rng.random() < COLOUR else np.repeat(pixels.mean(2, keepdims=True), 3, axis=2)
    old = new.copy()
    if new is not pixels and rng.random() < 0.7:
        old = old * np.array([1, rng.uniform(0.82, 0.92), rng.uniform(0.6, 0.8)], np.float32)
    if rng.random() < 0.6:
        black, white = rng.uniform(0.05, 0.3), rng.uniform(0.65, 0.9)
        old = black + (white - black) * old
    old = np.ascontiguousarray(old, np.float32)
    for _ in range(int(rng.integers(MOST_SCRATCHES + 1))):
        _scratch(old, rng)
    return np.clip(old, 0, 1), new


def _scratch(pixels: FloatArray, rng: np.random.Generator) -> None:
    height, width = pixels.shape[:2]
    start = rng.uniform(0, (width, height))
    angle, length = rng.uniform(0, np.pi), rng.uniform(0.3, 1.0) * min(width, height)
    end = start + length * np.array([np.cos(angle), np.sin(angle)])
    shade = float(rng.uniform(0.9, 1.0) if rng.random() < 0.7 else rng.uniform(0.0, 0.08))
    points = [(round(float(x)), round(float(y))) for x, y in (start, end)]
    cv2.line(pixels, points[0], points[1], (shade,) * 3, int(rng.integers(1, 4)), cv2.LINE_AA)


def rows_of(path: Path, step: int, pool: ExpertPool) -> Iterator[dict[str, object]]:
    """Fidelity of the result of every expert, and of the input, on one aged photo."""
    rng = np.random.default_rng(step)
    old, new = aged(np.ascontiguousarray(read_pixels(path)[:SIDE, :SIDE]), rng)
    image, reference = Image(from_numpy(to_float(to_uint8(old)))), Image(from_numpy(new))
    results = {KEEP_INPUT: image}
    for card in pool.runnable(Task.OLD_PHOTO_RESTORATION):
        results[card.name] = run_expert(pool.get(card.name), image, ProgressToken())
    for name, result in results.items():
        truth = truth_of(psnr(result, reference), ssim_y(result, reference))
        yield {"step": step, "task": Task.OLD_PHOTO_RESTORATION.value, "name": name, "truth": truth}


def main() -> None:
    """Age, restore, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=80)
    parser.add_argument("--output", type=Path, default=Path("iqa/old_photo_expert_priors.toml"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pool = ExpertPool()
    files = [path for path in photos(arguments.data) if not held_out(path)][: arguments.photos]
    rows = [row for step, path in enumerate(files) for row in rows_of(path, step, pool)]
    lines = [f"# Written by: python -m training.fits.old_photo --photos {len(files)}"]
    for task, experts in expert_priors(rows).items():
        lines += [f"\n[{task}]", *(f"{name} = {value}" for name, value in experts.items())]
    arguments.output.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
