"""Everything that is measured of a picture before anybody judges it, measured once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from imaging.image import Image
from imaging.resizing import averaged
from iqa.crops import OVERVIEW, Box, crops_of
from iqa.evidence.measure import measure_evidence
from iqa.evidence.view import View, view_of
from iqa.niqe import niqe_of
from iqa.pieces import Pieces, pieces_of

WORST_NIQE = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One picture, looked at."""

    evidence: Mapping[str, float]
    """Measured numbers by names that end in their unit; `niqe` among them."""
    pieces: Pieces
    crops: tuple[Box, ...]
    """Where it was looked at."""


def see(image: Image, crops: tuple[Box, ...] | None = None) -> Seen:
    """Evidence and pieces of a picture; about 0.1 s at any size.

    Up to 0.75 megapixels evidence comes from the whole picture, above that from nine crops of 288x288: the middles of
    `crops`, so that candidates of one step are compared on the same places, or the picture's own `crops_of`.
    """
    small = Image(averaged(image.pixels, OVERVIEW))
    boxes = crops or crops_of(image, small)
    evidence = measure_evidence(view_of(image, boxes, small), _niqe)
    return Seen(evidence, pieces_of(image, boxes, small=small), boxes)


def _niqe(view: View) -> dict[str, float]:
    return {"niqe": min(WORST_NIQE, niqe_of([np.rint(luma) for luma in view.lumas]))}


def enlarged(seen: Seen, image: Image, scale: int) -> Seen:
    """The same picture with pieces as it would have if it were `scale` times larger; evidence stays its own."""
    return seen if scale == 1 else Seen(seen.evidence, pieces_of(image, seen.crops, scale), seen.crops)
