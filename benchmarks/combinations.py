"""Gain of the agent on the sixteen combinations of degradations of MiO100, synthesised from clean photos.

    python -m benchmarks.combinations --data DATA/bench/bsd100/hr --photos 4

Gains are PSNR (RGB) of the result minus PSNR of the degraded input (enlarged bicubically where it is smaller), mean
over the photos. Published means over MiO100's own pictures: AgenticIR +1.29, 4KAgent +0.87, HarnessIR +2.35 dB.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.run import Restoration
from benchmarks.agent_on import restored_by_agent
from benchmarks.report import reported
from imaging.convert import FloatArray, from_numpy, to_numpy
from imaging.image import Image
from imaging.reading import read_image
from imaging.resizing import resize
from iqa.metrics.psnr import psnr
from iqa.metrics.ssim import ssim
from profiles.loading import load_profile
from profiles.schema import Profile
from toolbox.pool import ExpertPool
from toolbox.tasks import Degradation, Severity
from training.data.degradations import MIO100, mix

SIDE = 320
"""Maximum side to which photos are cropped; a multiple of 4."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Gains of one restoration."""

    psnr_before: float
    psnr_after: float
    ssim_before: float
    ssim_after: float
    steps: str
    expert_runs: int
    seconds: float


@reported("combinations", "The sixteen combinations of MiO100", preformatted=True)
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of clean photos")
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--profile", default="default")
    parser.add_argument("--only", type=int, default=None, help="number of one combination, 1 to 16")
    parser.add_argument("--verbose", action="store_true", help="a line for every photo")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.data.rglob("*") if path.suffix in (".png", ".webp", ".jpg"))
    chosen = np.random.default_rng(0).choice(len(files), min(arguments.photos, len(files)), replace=False)
    profile, experts = load_profile(arguments.profile), ExpertPool()
    print(f"{'combination':44}{'before':>8}{'after':>8}{'gain':>7}{'SSIM':>7}{'worst':>7}{'runs':>6}{'s':>7}")
    all_gains: list[Gain] = []
    for number, combination in enumerate(MIO100, start=1):
        if arguments.only not in (None, number):
            continue
        gains = [restored(files[index], combination, int(index), profile, experts) for index in chosen]
        if arguments.verbose:
            for index, gain in zip(chosen, gains, strict=True):
                print(f"  {files[index].name:20}{gain.psnr_after - gain.psnr_before:+7.2f}  {gain.steps}")
        _print(", ".join(name.value for name in combination), gains)
        all_gains += gains
    _print("mean", all_gains)


def restored(
    file: Path, combination: tuple[Degradation, ...], seed: int, profile: Profile, experts: ExpertPool
) -> Gain:
    """Degrade one photo, let the agent restore it, and compare both with the photo."""
    degraded, truth = degraded_and_clean(file, combination, seed)
    after, before, restoration = restored_by_agent(degraded, truth.height // degraded.height, profile, experts)
    before = before.with_pixels(resize(before.pixels, truth.height, truth.width))
    return Gain(
        psnr(before, truth),
        psnr(after, truth),
        ssim(before, truth),
        ssim(after, truth),
        _steps(restoration),
        restoration.state.expert_runs,
        sum(restoration.state.seconds.values()),
    )


def degraded_and_clean(
    file: Path, combination: Sequence[Degradation], seed: int, side: int = SIDE
) -> tuple[Image, Image]:
    """A photo of at most `side` pixels with these degradations, each of medium or high severity, and without."""
    clean = _cut(to_numpy(read_image(file).pixels), side)
    rng = np.random.default_rng([seed, len(combination)])
    severities = [Severity(int(rng.choice([Severity.MEDIUM, Severity.HIGH]))) for _ in combination]
    degraded, _ = mix(clean, combination, rng, severities)
    return Image(from_numpy(degraded)), Image(from_numpy(clean))


def _steps(restoration: Restoration) -> str:
    return " > ".join(f"{step.step}: {step.expert}" for step in restoration.summary().steps) or "nothing"


def _cut(clean: FloatArray, most: int) -> FloatArray:
    height, width = (min(most, side) // 4 * 4 for side in clean.shape[:2])
    top, left = (clean.shape[0] - height) // 2, (clean.shape[1] - width) // 2
    return np.ascontiguousarray(clean[top : top + height, left : left + width])


def _print(name: str, gains: list[Gain]) -> None:
    before, after = (float(np.mean([getattr(gain, key) for gain in gains])) for key in ("psnr_before", "psnr_after"))
    similar = float(np.mean([gain.ssim_after - gain.ssim_before for gain in gains]))
    worst = min(gain.psnr_after - gain.psnr_before for gain in gains)
    runs, seconds = (float(np.mean([getattr(gain, key) for gain in gains])) for key in ("expert_runs", "seconds"))
    quality = f"{before:8.2f}{after:8.2f}{after - before:+7.2f}{similar:+7.3f}{worst:+7.2f}"
    print(f"{name:44}{quality}{runs:6.1f}{seconds:7.1f}", flush=True)


if __name__ == "__main__":
    main()
