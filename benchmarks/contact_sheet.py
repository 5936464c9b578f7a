"""Contact sheets: degraded / every expert / the agent / ground truth, one sheet per kind of degradation.

    python -m benchmarks.contact_sheet --output benchmarks/sheets
    python -m benchmarks.contact_sheet --output SHEETS --data DATA/bench
    python -m benchmarks.contact_sheet --output SHEETS --real DATA/bench/realsrset

Without --data three redistributable photos of scikit-image are used (astronaut by NASA, public domain; coffee by
Rachel Michetti and Chelsea the cat by Stefan van der Walt, both CC0). --real: pictures without ground truth, beside
the agent's result at twice the size, labelled with its steps.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import skimage.data

from benchmarks.agent_on import restored_by_agent
from benchmarks.report import reported
from benchmarks.trials import Trial, trials
from imaging.convert import to_numpy, to_uint8
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.resizing import resize
from profiles.loading import load_profile
from toolbox.expert import run_expert
from toolbox.pool import ExpertPool
from training.data.loading import shrink

Cell = tuple[Image, str]
PATCH_SIDE = 176
LABEL = 26
GAP = 4
SHOWN = {
    "SR 4x": None,
    "SR 2x": None,
    "colour noise": "sigma 25",
    "JPEG": "q10",
    "motion blur": "medium",
    "defocus": "medium",
    "haze": "medium",
    "rain": "medium",
    "dark": "medium",
}
"""The column of each table that is shown; None: the first one."""
FREE = {"astronaut": (0, 60), "coffee": (60, 180), "chelsea": (40, 100)}
"""Photos, and the upper left corner of the 320x320 pixels that are used."""


@reported("contact_sheet", "Contact sheets of all experts", preformatted=True)
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--real", type=Path, nargs="*", default=[])
    parser.add_argument("--photos", type=int, default=3)
    parser.add_argument("--group", nargs="*", default=list(SHOWN))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    pool = ExpertPool()
    for folder in arguments.real:
        save(list(_real_rows(folder, arguments.photos, pool)), arguments.output / f"{folder.name}.jpg", patch=352)
    if arguments.real:
        return
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or _free_photos(Path(folder))
        shown: dict[str, Trial] = {}
        for trial in trials(data, arguments.photos):
            if trial.group in arguments.group and SHOWN[trial.group] in (None, trial.name):
                shown.setdefault(trial.group, trial)
        for group, trial in shown.items():
            rows = list(_rows(trial, arguments.photos, pool))
            save(rows, arguments.output / f"{group.replace(' ', '_').lower()}.jpg", patch=PATCH_SIDE)


def save(rows: Sequence[Sequence[Cell]], file: Path, patch: int) -> None:
    """One sheet: each cell is the middle of its picture under its label."""
    width, height = max(map(len, rows)) * (patch + GAP), len(rows) * (patch + LABEL + GAP)
    sheet = PIL.Image.new("RGB", (width, height), "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for row, cells in enumerate(rows):
        for column, (image, label) in enumerate(cells):
            left, top = column * (patch + GAP), row * (patch + LABEL + GAP)
            draw.multiline_text((left + 1, top), label, fill="black", font_size=10, spacing=1)
            sheet.paste(_middle(image, patch), (left, top + LABEL))
    sheet.save(file, quality=90)
    print(file)


def _rows(trial: Trial, photos: int, pool: ExpertPool) -> Iterator[list[Cell]]:
    profile = load_profile("default")
    for degraded, truth in list(trial.pairs())[:photos]:
        enlarged = degraded.with_pixels(resize(degraded.pixels, truth.height, truth.width).clamp(0, 1))
        cells = [(enlarged, f"input\n{trial.db(enlarged, truth):.2f} dB")]
        for card in pool.runnable(trial.task, trial.scale):
            result = run_expert(pool.get(card.name), degraded, ProgressToken())
            cells.append((result, f"{card.name}\n{trial.db(result, truth):.2f} dB"))
        result, _, _ = restored_by_agent(degraded, trial.scale, profile, pool)
        yield [*cells, (result, f"agent\n{trial.db(result, truth):.2f} dB"), (truth, "truth")]


def _real_rows(folder: Path, photos: int, pool: ExpertPool) -> Iterator[list[Cell]]:
    profile = load_profile("default")
    for file in sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".webp"))[:photos]:
        image = read_image(file)
        result, _, restoration = restored_by_agent(image, 2, profile, pool)
        steps = [f"{step.step}: {step.expert}" for step in restoration.summary().steps]
        label = "\n".join([", ".join(steps[:2]), ", ".join(steps[2:])])
        plain = image.with_pixels(resize(image.pixels, result.height, result.width).clamp(0, 1))
        yield [(plain, file.name), (result, label)]


def _middle(image: Image, patch: int) -> PIL.Image.Image:
    top, left = max(0, (image.height - patch) // 2), max(0, (image.width - patch) // 2)
    pixels = image.pixels[:, top : top + patch, left : left + patch].clamp(0, 1)
    return PIL.Image.fromarray(to_uint8(to_numpy(pixels.contiguous())))


def _free_photos(folder: Path) -> Path:
    """A folder like DATA/bench with the redistributable photos."""
    for name, (top, left) in FREE.items():
        pixels = getattr(skimage.data, name)()[top : top + 320, left : left + 320]
        pixels = pixels[: pixels.shape[0] // 4 * 4, : pixels.shape[1] // 4 * 4]
        for place, picture in (("bsd100/hr", pixels), ("set5/hr", pixels), ("set5/lr_x4", shrink(pixels, 4))):
            (folder / place).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(picture).save(folder / place / f"{name}.png")
    return folder


if __name__ == "__main__":
    main()
