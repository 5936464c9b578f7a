"""The pictures of benchmarks.real: pairs of real photos, clean photos in colour and grey, photos for the sheet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image

from benchmarks.trials import pictures, spread
from imaging.convert import from_numpy, to_float
from imaging.image import Image
from imaging.reading import read_image
from imaging.writing import write_image
from training.data.loading import Bytes, shrink

PAIRS = ("real_noise", "real_lens")
CLEAN = ("clean_colour", "clean_grey")
CLEAN_PHOTOS = "bsd100"
SCALES = (1, 2, 4)
"""Factor by which clean photos are reduced and enlarged again."""
WITHOUT_REFERENCE = (
    "realsrset",
    "realesrgan_inputs",
    "noise_real_rni15",
    "lowlight_real_lime",
    "defocus_real",
    "faces_real_whole",
)
SETS = (*PAIRS, *CLEAN, "sheet")
Kind = Literal["pair", "clean", "sheet"]


@dataclass(frozen=True, slots=True)
class Case:
    """One picture to restore."""

    kind: Kind
    set_name: str
    """The set in which it is counted, for example ``real_noise``, ``clean_grey_2x`` or ``realsrset_2x``."""
    file: Path
    """The input of a pair or of the sheet; the photo itself where it is clean."""
    scale: int = 1
    """Result size over input size."""
    grey: bool = False

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.file.stem

    def source(self, folder: Path) -> Path:
        """The file for the agent: a camera's file as it is; of a clean photo a PNG, which is written to `folder`."""
        if self.kind != "clean":
            return self.file
        reduced = folder / f"{self.name}.png"
        write_image(_image(shrink(self._photo(), self.scale)), reduced, overwrite=True)
        return reduced

    def truth(self) -> Image | None:
        """The reference of the result; None for the sheet."""
        if self.kind == "sheet":
            return None
        return read_image(_reference_of(self.file)) if self.kind == "pair" else _image(self._photo())

    def _photo(self) -> Bytes:
        """(H, W, 3) bytes of the clean photo, both sides multiples of the scale."""
        with PIL.Image.open(self.file) as photo:
            pixels = np.asarray(photo.convert("L").convert("RGB") if self.grey else photo.convert("RGB"))
        height, width = (side // self.scale * self.scale for side in pixels.shape[:2])
        return np.ascontiguousarray(pixels[:height, :width])


def cases_of(data: Path, set_name: str, count: int | None, sheet_scale: int = 2) -> tuple[Case, ...]:
    """The pictures of one of `SETS`: `count` of each folder at most, evenly spread.

    Raises `FileNotFoundError` if they are not in `data`.
    """
    if set_name in PAIRS:
        return tuple(Case("pair", set_name, file) for file in _files(data / set_name / "input", count))
    if set_name in CLEAN:
        files = _files(data / CLEAN_PHOTOS / "hr", count)
        grey = set_name == "clean_grey"
        return tuple(Case("clean", f"{set_name}_{scale}x", file, scale, grey) for scale in SCALES for file in files)
    return tuple(_of_the_sheet(data, count, sheet_scale))


def _of_the_sheet(data: Path, count: int | None, scale: int) -> Iterator[Case]:
    for name in WITHOUT_REFERENCE:
        for file in _files(data / name / "input", count):
            yield Case("sheet", f"{name}_{scale}x", file, scale)


def _files(folder: Path, count: int | None) -> tuple[Path, ...]:
    found = pictures(folder) if folder.is_dir() else ()
    if not found:
        raise FileNotFoundError(
            f"no pictures in {folder}; --data names the folder that holds the sets, --sets chooses"
        )
    return found if count is None else spread(found, count)


def _reference_of(file: Path) -> Path:
    return file.parent.parent / "hr" / file.name


def _image(pixels: Bytes) -> Image:
    return Image(from_numpy(to_float(pixels)))
