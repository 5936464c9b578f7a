"""Findings of perception on real photographs without reference, printed next to the photographs.

python -m benchmarks.real_photos --output real_photos.jpg DATA/bench/realsrset DATA/bench/lowlight_real_lime ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agent.perception import measure
from benchmarks.contact_sheet import Cell, save
from benchmarks.report import reported
from imaging.image import Image
from imaging.reading import read_image
from imaging.resizing import fitted, resize
from toolbox.tasks import Degradation

SIDE = 232
COLUMNS = 6
SHORT = {
    Degradation.DARK: "dark",
    Degradation.HAZE: "haze",
    Degradation.RAIN: "rain",
    Degradation.MOTION_BLUR: "motion",
    Degradation.DEFOCUS_BLUR: "defocus",
    Degradation.NOISE: "noise",
    Degradation.JPEG_ARTIFACT: "JPEG",
    Degradation.LOW_RESOLUTION: "low res.",
    Degradation.LOW_QUALITY_FACE: "faces",
}


def cell(file: Path) -> Cell:
    """The reduced picture and its findings; the number is the level of severity, 2 (medium) to 4."""
    image = read_image(file)
    perception = measure(image)
    found = ", ".join(
        f"{SHORT[name]} {int(perception.findings[name].severity)}" for name in perception.present() if name in SHORT
    )
    what = f"{perception.content.value} {perception.content_confidence:.0%}"
    print(f"{file.parent.parent.name}/{file.name}: {found or 'nothing'}; {what}")
    height, width = fitted(image.height, image.width, SIDE)
    small = Image(resize(image.pixels, height, width).clamp(0, 1))
    return small, f"{file.stem[:18]}: {what}\n{found or 'nothing wrong'}"


@reported("real_photos", "Perception on real photos without reference", preformatted=True)
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=12, help="of each folder")
    arguments = parser.parse_args()
    cells = [
        cell(file)
        for folder in arguments.folders
        for file in sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".webp"))[
            : arguments.photos
        ]
    ]
    rows = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
    save(rows, arguments.output, patch=SIDE)


if __name__ == "__main__":
    main()
