"""Peak memory of `restore4k restore` by the size of the picture, and whether a budget changes the result.

    python -m benchmarks.memory [--megapixels 12 24 33.2 50 100] [--memory 1.5] [--profile NAME] [--experts ...]

The pictures are JPEGs of a photo tiled with its mirror images. Without --profile the plan is the tasks of --experts,
each done by that expert. The peak is the maximum resident set size of the process (getrusage), including resident
pages of temporary files, which the system can reclaim; `own` is the maximum without those (anonymous memory, sampled
every 5 ms; Linux only).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import skimage.data

from benchmarks.report import reported
from imaging.pixels import MEMORY_VARIABLE
from toolbox.catalogue import default_catalogue

ASPECT = 16 / 9
ENOUGH = "1000000"
"""Gigabytes: no budget."""


@dataclass(frozen=True, slots=True)
class Peak:
    """One run."""

    megabytes: float
    own: float
    seconds: float
    digest: str
    steps: str


@reported("memory", "Peak memory of large pictures")
def main() -> None:
    """Print a line per size, and how the peak grows."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--megapixels", type=float, nargs="+", default=[12, 24, 33.2, 50, 100])
    options.add_argument("--memory", type=float, default=1.5, help="the budget in gigabytes")
    options.add_argument("--quality", type=int, default=40, help="of the JPEG")
    options.add_argument("--profile", help="instead of a plan of --experts")
    options.add_argument("--experts", nargs="+", default=["guided_deblock"])
    options.add_argument("--only-budget", action="store_true", help="no run without a budget")
    asked = options.parse_args()
    budgets = [str(asked.memory)] if asked.only_budget else [str(asked.memory), ENOUGH]
    summary = f"peak, {asked.memory:g} GB (own) | peak, no budget (own)"
    print(f"| MP | picture | one float copy | {summary} | same file | s | steps |")
    print("|---|---|---|---|---|---|---|---|")
    peaks = []
    with tempfile.TemporaryDirectory(dir="/var/tmp" if Path("/var/tmp").is_dir() else None) as folder:
        profile = asked.profile or str(write_profile(Path(folder) / "plan.toml", asked.experts))
        for megapixels in asked.megapixels:
            file = write_picture(Path(folder) / "photo.jpg", megapixels, asked.quality)
            runs = [run(file, profile, budget) for budget in budgets]
            print(line(file, runs), flush=True)
            peaks.append([one.megabytes for one in runs])
    if len(peaks) > 1:
        times = asked.megapixels[-1] / asked.megapixels[0]
        grown = [last / first for first, last in zip(peaks[0], peaks[-1], strict=True)]
        summary = ", ".join(f"{each:.2f}" for each in grown)
        print(f"\nPixels times {times:.1f}, peak times {summary}")


def write_profile(file: Path, experts: Sequence[str]) -> Path:
    """A plan of one step for each expert."""
    tasks = [default_catalogue().card(name).task.value for name in experts]
    file.write_text(f"plan = {json.dumps(tasks)}\nexperts = {json.dumps(list(experts))}\n")
    return file


def write_picture(file: Path, megapixels: float, quality: int) -> Path:
    """A 16:9 picture of that size."""
    height = round(math.sqrt(megapixels * 1e6 / ASPECT))
    width = round(height * ASPECT)
    photo = skimage.data.astronaut()
    pair = np.concatenate([photo, photo[:, ::-1]], axis=1)
    tile = np.concatenate([pair, pair[::-1]], axis=0)
    repeats = (-(-height // len(tile)), -(-width // len(tile)), 1)
    PIL.Image.fromarray(np.tile(tile, repeats)[:height, :width]).save(file, quality=quality)
    return file


def run(file: Path, profile: str, budget: str) -> Peak:
    """Restore the picture in a process of its own."""
    output = file.with_suffix(".png")
    command = [sys.executable, "-m", "server", "restore", str(file), "-o", str(output), "-p", profile]
    command += ["--runs", str(file.with_name("runs")), "--overwrite", "--quiet", "--json"]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as answer:
        process = subprocess.Popen(command, stdout=answer, env={**os.environ, MEMORY_VARIABLE: budget})
        own, ended = 0.0, 0
        while not ended:
            own = max(own, own_megabytes(process.pid))
            time.sleep(0.005)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        answer.seek(0)
        summary = json.load(answer)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {summary}")
    steps = ", ".join(step["expert"] for step in summary["steps"]) or "none"
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    unit = 1 if sys.platform == "darwin" else 1024
    return Peak(usage.ru_maxrss * unit / 2**20, own, seconds, digest, steps)


def own_megabytes(process: int) -> float:
    """Anonymous memory of a running process; 0 if the system does not report it."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def line(file: Path, runs: Sequence[Peak]) -> str:
    """A row of the table."""
    with PIL.Image.open(file) as picture:
        width, height = picture.size
    peaks = [f"{one.megabytes:.0f} MB ({one.own:.0f})" for one in runs]
    same = ("yes" if runs[0].digest == runs[1].digest else "NO") if len(runs) > 1 else ""
    seconds = " / ".join(f"{one.seconds:.0f}" for one in runs)
    return (
        f"| {width * height / 1e6:.1f} | {width}x{height} | {12 * width * height / 2**20:.0f} MB "
        f"| {peaks[0]} | {peaks[1] if len(peaks) > 1 else ''} | {same} | {seconds} | {runs[0].steps} |"
    )


if __name__ == "__main__":
    PIL.Image.MAX_IMAGE_PIXELS = None
    main()
