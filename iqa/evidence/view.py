"""What all evidence is measured on: a few pieces at full resolution and one small whole picture, at flat cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imaging.convert import FloatArray, to_numpy
from iqa.crops import Box, crops_of, cut, overview
from iqa.luma import FULL, weighted

if TYPE_CHECKING:
    from imaging.image import Image

MOST_PIXELS = 750_000
"""Pictures up to this size are one piece; larger ones are nine crops."""
THUMBNAIL = 256
SMALLEST_SIDE = 32
CB, CR = (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)


@dataclass(frozen=True, slots=True)
class View:
    """One picture, prepared."""

    lumas: tuple[FloatArray, ...]
    """Pieces (h, w) of BT.601 luma in [0, 255], each beginning at multiples of 8 pixels, at least 32x32."""
    chromas: tuple[FloatArray, ...]
    """Their Cb and Cr, (2h, w), one below the other, in [-127.5, 127.5]."""
    thumbnail: FloatArray
    """(h, w, 3) RGB in [0, 1], long side at most 256."""
    width: int
    height: int


def view_of(image: Image, crops: tuple[Box, ...] | None = None, small: Image | None = None) -> View:
    """The picture's view; where it is large, its pieces are the middles of `crops`, otherwise of its own.

    Pictures below 32 pixels are continued by reflection. `small`: the same picture, averaged for no less than
    `THUMBNAIL`, where that is at hand.
    """
    if image.width * image.height <= MOST_PIXELS:
        pieces = [to_numpy(image.pixels)]
    else:
        pieces = [to_numpy(cut(image, box, multiple_of=8)) for box in crops or crops_of(image)]
    pieces = [_at_least(piece, SMALLEST_SIDE) * np.float32(255) for piece in pieces]
    return View(
        lumas=tuple(weighted(piece, FULL) for piece in pieces),
        chromas=tuple(np.concatenate([weighted(piece, CB), weighted(piece, CR)]) for piece in pieces),
        thumbnail=overview(small or image, THUMBNAIL),
        width=image.width,
        height=image.height,
    )


def _at_least(piece: FloatArray, side: int) -> FloatArray:
    below, right = (max(0, side - size) for size in piece.shape[:2])
    return np.pad(piece, ((0, below), (0, right), (0, 0)), mode="symmetric") if below or right else piece
