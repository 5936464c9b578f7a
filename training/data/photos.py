"""The photographs that the fits of iqa/ learn from, and the fixed fifth of them that is only measured."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from imaging.convert import FloatArray, to_float

PICTURES = {".webp", ".png", ".jpg"}


def photos(data: Path) -> list[Path]:
    """All pictures in `data`/photo, by name. Raises `SystemExit` where there is none."""
    found = sorted(path for path in (data / "photo").glob("*") if path.suffix in PICTURES)
    if not found:
        raise SystemExit(f"no photo in {data / 'photo'}; give the folder above it as --data")
    return found


def others(data: Path) -> list[Path]:
    """All pictures in the other folders beside it (drawings, scans, faces, ...), by name."""
    return sorted(path for path in data.glob("*/*") if path.suffix in PICTURES and path.parent.name != "photo")


def held_out(path: Path) -> bool:
    """Whether a photo is kept from fitting: one in five, chosen by its name alone."""
    return zlib.crc32(path.stem.encode()) % 5 == 0


def for_weights(path: Path) -> bool:
    """Whether one of those kept from fitting is used to choose weights and thresholds; the others only report."""
    return held_out(path) and zlib.crc32(path.stem.encode()) % 2 == 0


def read_pixels(path: Path) -> FloatArray:
    """(H, W, 3) float32 RGB in [0, 1] of an 8-bit file."""
    from PIL import Image

    with Image.open(path) as file:
        return to_float(np.asarray(file.convert("RGB")))


def stored(pixels: FloatArray) -> FloatArray:
    """Rounded to 8 bits and limited, as a file has it."""
    return np.clip(np.rint(pixels * 255), 0, 255).astype(np.float32) / np.float32(255)
