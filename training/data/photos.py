"""The photos for the fits of iqa/, and the fixed fifth of them that is held out."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from imaging.convert import FloatArray, to_float

PICTURES = {".webp", ".png", ".jpg"}


def photos(data: Path) -> list[Path]:
    """All images in `data`/photo, sorted by name. Raises `SystemExit` if there are none."""
    found = sorted(path for path in (data / "photo").glob("*") if path.suffix in PICTURES)
    if not found:
        raise SystemExit(f"no photo in {data / 'photo'}; give the folder above it as --data")
    return found


def others(data: Path) -> list[Path]:
    """All images in the folders beside it (drawings, scans, faces, ...), sorted by name."""
    return sorted(path for path in data.glob("*/*") if path.suffix in PICTURES and path.parent.name != "photo")


def held_out(path: Path) -> bool:
    """Whether a photo is held out of all fits: one in five, by a hash of its name."""
    return zlib.crc32(path.stem.encode()) % 5 == 0


def for_weights(path: Path) -> bool:
    """Whether a held-out photo is used to choose weights and thresholds; the others are only used for evaluation."""
    return held_out(path) and zlib.crc32(path.stem.encode()) % 2 == 0


def read_pixels(path: Path) -> FloatArray:
    """(H, W, 3) float32 RGB in [0, 1] of an 8-bit file."""
    from PIL import Image

    with Image.open(path) as file:
        return to_float(np.asarray(file.convert("RGB")))


def stored(pixels: FloatArray) -> FloatArray:
    """Rounded to 8 bits and clipped, as in a file."""
    return np.clip(np.rint(pixels * 255), 0, 255).astype(np.float32) / np.float32(255)
