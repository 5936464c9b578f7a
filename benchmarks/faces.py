"""PSNR and identity of degraded faces after the face step and after each expert alone.

    python -m benchmarks.faces --data DATA/bench
    python -m benchmarks.faces --data DATA/bench --sheet faces.png

Faces are detected in the undamaged pictures of set5, set14 and bsd100 (hr/); each is cropped with its surroundings
and degraded as in blind face restoration (training.data.pairs.face, one seed per face and draw). `clean` is the
undamaged face, which can only lose. Without --data, the astronaut of scikit-image.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import PIL.Image
import skimage.data

from agent.expert_choice import candidates
from agent.faces.detection import FaceTools, face_tools
from agent.faces.step import run_face_step, run_on_crop
from agent.state import KEEP_INPUT, Step
from agent.step_context import StepContext
from benchmarks.report import reported
from imaging.convert import FloatArray, from_numpy, to_float, to_numpy, to_uint8
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from iqa.features import extract_features
from iqa.metrics.psnr import psnr
from profiles.loading import load_profile
from toolbox.faces.alignment import MASK, align, paste
from toolbox.faces.face import Face
from toolbox.faces.identity import similarity
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.data.pairs import face as degrade_face

SETS = ("set5", "set14", "bsd100")
LEAST_SIZE = 40
MOST_DB = 60.0
"""Shown for identical faces."""
SURROUNDINGS = 1.0
"""Margin around a face on each side, as a fraction of its size."""
SHEET_SIDE = 192


@dataclass(frozen=True, slots=True)
class Case:
    """One undamaged face with its surroundings."""

    name: str
    pixels: FloatArray
    face: Face


def cases(data: Path | None, tools: FaceTools) -> Iterator[Case]:
    """Every face that the detector finds."""
    if data is None:
        pictures = [("astronaut", to_float(skimage.data.astronaut()))]
    else:
        files = [file for name in SETS for file in sorted((data / name / "hr").iterdir())]
        pictures = [(f"{file.parts[-3]}/{file.stem}", to_numpy(read_image(file).pixels)) for file in files]
    for name, pixels in pictures:
        for number, face in enumerate(tools.detector(pixels)):
            if face.size >= LEAST_SIZE:
                yield _cut(f"{name} {number}", pixels, face)


def _cut(name: str, pixels: FloatArray, face: Face) -> Case:
    margin = SURROUNDINGS * face.size
    left, top = (max(0, int(place - margin)) for place in (face.left, face.top))
    right, bottom = int(face.left + face.width + margin), int(face.top + face.height + margin)
    patch = np.ascontiguousarray(pixels[top:bottom, left:right])
    points = tuple((x - left, y - top) for x, y in face.landmarks)
    a, b, c, d, e = points
    return Case(name, patch, Face(face.left - left, face.top - top, face.width, face.height, (a, b, c, d, e)))


def measure(truth: Case, pixels: FloatArray, tools: FaceTools) -> tuple[float, float]:
    """PSNR in dB of the face's aligned crop (its middle), and identity, against the undamaged one."""
    before, now = (align(picture, truth.face).crop for picture in (truth.pixels, pixels))
    inside = MASK > 0.5
    one, other = (Image(from_numpy(crop[inside][:, None])) for crop in (before, now))
    identity = similarity(tools.identity.describe(before), tools.identity.describe(now))
    return min(psnr(other, one), MOST_DB), identity


def run(data: Path | None, draws: int, sheet: Path | None) -> None:
    """Measure and print."""
    pool, profile, step = ExpertPool(), load_profile("default"), Step(task=Task.FACE_RESTORATION)
    tools, cards = face_tools(pool.store), candidates(step, profile, pool)
    rows: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    chosen: dict[str, list[str]] = defaultdict(list)
    shown: list[Sequence[FloatArray]] = []
    found = list(cases(data, tools))
    for index, case in enumerate(found):
        for draw in range(draws + 1):
            kind = "degraded" if draw else "clean"
            pixels = to_uint8(case.pixels)
            if draw:
                pixels = to_uint8(degrade_face(pixels, np.random.default_rng(1000 * index + draw))[0])
            image = Image(from_numpy(to_float(pixels)))
            outputs = {KEEP_INPUT: to_numpy(image.pixels)}
            for card in cards:
                outputs[card.name] = _alone(image, case.face, card.name, pool)
            context = StepContext(image, step, profile, pool, extract_features(image))
            best = [each for each in run_face_step(context, cards) if each.image][-1]
            outputs["the face step"] = to_numpy(best.image.pixels) if best.image else to_numpy(image.pixels)
            chosen[kind] += [face.expert for face in best.faces.faces[:1]] if best.faces else []
            for name, output in outputs.items():
                rows[kind, name].append(measure(case, output, tools))
            if draw == 1:
                shown.append([outputs[KEEP_INPUT], outputs["the face step"], case.pixels])
    _print(rows, chosen, len(found), tools)
    if sheet:
        _save_sheet(shown, sheet)


def _alone(image: Image, face: Face, expert: str, pool: ExpertPool) -> FloatArray:
    """The picture with one expert's result for the face, better or worse."""
    pixels = to_numpy(image.pixels)
    aligned = align(pixels, face)
    return paste(pixels, [(aligned, to_numpy(run_on_crop(pool.get(expert), aligned, ProgressToken()).pixels))])


def _print(
    rows: dict[tuple[str, str], list[tuple[float, float]]], chosen: dict[str, list[str]], faces: int, tools: FaceTools
) -> None:
    print(f"{faces} faces; detector: {tools.detector.name}; identity: {tools.identity.name}\n")
    print("| faces | result | PSNR dB | gain dB | worst gain dB | identity | chosen |")
    print("|---|---|---|---|---|---|---|")
    for (kind, name), values in rows.items():
        before = rows[kind, KEEP_INPUT]
        gains = [value[0] - other[0] for value, other in zip(values, before, strict=True)]
        share = "" if name == "the face step" else f"{chosen[kind].count(name) / max(len(chosen[kind]), 1):.0%}"
        print(
            f"| {kind} | {name} | {fmean(value[0] for value in values):.2f} | {fmean(gains):+.2f} "
            f"| {min(gains):+.2f} | {fmean(value[1] for value in values):.3f} | {share} |"
        )


def _save_sheet(shown: Sequence[Sequence[FloatArray]], file: Path) -> None:
    """Degraded, face step, truth; one row per face."""
    rows = [
        np.hstack(
            [np.asarray(PIL.Image.fromarray(to_uint8(picture)).resize((SHEET_SIDE, SHEET_SIDE))) for picture in row]
        )
        for row in shown
    ]
    PIL.Image.fromarray(np.vstack(rows)).save(file)


@reported("faces", "The face step")
def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with set5, set14 and bsd100")
    parser.add_argument("--draws", type=int, default=2, help="degradations per face")
    parser.add_argument("--sheet", type=Path, help="a picture to look at")
    arguments = parser.parse_args()
    run(arguments.data, arguments.draws, arguments.sheet)


if __name__ == "__main__":
    main()
