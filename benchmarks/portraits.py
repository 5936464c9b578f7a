"""Portraits photographed at three severities by the simulated camera, and restored: PSNR and identity of the face.

    python -m benchmarks.portraits --data BENCH/faces_hq/hr --output SHEETS

Mild, medium and severe: more noise, more blur, stronger compression (`training.camera`; a seed per portrait). PSNR
is of the aligned face, identity is the similarity of its description to that of the undamaged one. SHEETS gets a
picture per portrait: photograph and result of each severity, and the portrait, at 100 %.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import PIL.Image

from agent.faces.detection import FaceTools, face_tools
from benchmarks.agent_on import restored_by_agent
from benchmarks.faces import Case, measure
from benchmarks.report import reported
from imaging.convert import FloatArray, from_numpy, to_numpy, to_uint8
from imaging.image import Image
from imaging.reading import read_image
from profiles.loading import load_profile
from toolbox.pool import ExpertPool
from training.camera.conditions import Conditions
from training.camera.photograph import photograph

SEVERITIES = {
    "mild": Conditions(iso=1600, blur_px=0.8, jpeg_quality=85),
    "medium": Conditions(iso=6400, blur_px=2.0, jpeg_quality=70),
    "severe": Conditions(iso=12_800, blur_px=4.0, jpeg_quality=50),
}


class Row(NamedTuple):
    """One photograph and its result."""

    before_db: float
    gain_db: float
    identity_before: float
    identity: float


def run(files: list[Path], profile_name: str, sheets: Path) -> None:
    """Measure and print."""
    pool, profile = ExpertPool(), load_profile(profile_name)
    tools = face_tools(pool.store)
    rows: dict[str, list[Row]] = defaultdict(list)
    print(f"Detector: {tools.detector.name}; identity: {tools.identity.name}.\n")
    print("| portrait | severity | PSNR before | gain | identity before | after | steps |")
    print("|---|---|---|---|---|---|---|")
    sheets.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files):
        portrait = to_numpy(read_image(file).pixels)
        found = tools.detector(portrait)
        if not found:
            print(f"| {file.stem} | no face was found | | | | | |")
            continue
        truth, shown = max(found, key=lambda face: face.size), list[FloatArray]()
        for severity, conditions in SEVERITIES.items():
            taken = photograph(portrait, conditions, np.random.default_rng(number))
            result, before, restoration = restored_by_agent(Image(from_numpy(taken.picture)), 1, profile, pool)
            row = _row(Case(file.stem, taken.reference, truth), before, result, tools)
            rows[severity].append(row)
            steps = ", ".join(f"{step.step} by {step.expert}" for step in restoration.summary().steps) or "none"
            print(
                f"| {file.stem} | {severity} | {row.before_db:.2f} | {row.gain_db:+.2f} "
                f"| {row.identity_before:.3f} | {row.identity:.3f} | {steps} |",
                flush=True,
            )
            shown += [to_numpy(before.pixels), to_numpy(result.pixels)]
        pictures = [to_uint8(each) for each in (*shown, portrait)]
        PIL.Image.fromarray(np.hstack(pictures)).save(sheets / f"{file.stem}.png")
    _print_means(rows)


def _row(case: Case, before: Image, after: Image, tools: FaceTools) -> Row:
    old, new = (measure(case, to_numpy(image.pixels), tools) for image in (before, after))
    return Row(old[0], new[0] - old[0], old[1], new[1])


def _print_means(rows: dict[str, list[Row]]) -> None:
    print("\n| severity | mean gain | worst | not below the input | identity before | after | not below |")
    print("|---|---|---|---|---|---|---|")
    for severity, some in [*rows.items(), ("all", [row for each in rows.values() for row in each])]:
        gains = [row.gain_db for row in some]
        kept = fmean(row.identity >= row.identity_before for row in some)
        was, now = fmean(row.identity_before for row in some), fmean(row.identity for row in some)
        print(
            f"| {severity} | {fmean(gains):+.2f} | {min(gains):+.2f} | {fmean(gain >= 0 for gain in gains):.0%} "
            f"| {was:.3f} | {now:.3f} | {kept:.0%} |"
        )


@reported("portraits", "Portraits photographed and restored")
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of portraits of one face each")
    parser.add_argument("--output", type=Path, required=True, help="folder of the sheets")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--count", type=int, help="only the first portraits")
    arguments = parser.parse_args()
    run(sorted(arguments.data.iterdir())[: arguments.count], arguments.profile, arguments.output)


if __name__ == "__main__":
    main()
