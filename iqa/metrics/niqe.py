"""Naturalness without a reference: NIQE with our own model of good photographs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from imaging.image import Image
from imaging.pixels import STRIP_PIXELS, let_go
from iqa.luma import luma
from iqa.metric import Metric
from iqa.niqe import BLOCK, Matrix, block_features, distance

WORST = 100.0


def niqe(image: Image) -> float:
    """NIQE of the whole picture in [0, 100], lower is better; good photographs lie below 4, flat areas at 100.

    Raises `ImageTooSmall` below 32 pixels.
    """
    return min(WORST, distance(np.concatenate(list(_features(image)))))


def _features(image: Image) -> Iterator[Matrix]:
    """Of the blocks of the picture, some rows of blocks at a time, each with a row above and below as context."""
    block_rows, block_columns = image.height // BLOCK, image.width // BLOCK
    if min(block_rows, block_columns) < 2:
        yield block_features(luma(image))[0]
        return
    at_once = max(1, STRIP_PIXELS // (BLOCK * image.width))
    for top in range(0, block_rows, at_once):
        bottom = min(block_rows, top + at_once)
        above, below = min(top, 1), min(block_rows - bottom, 1)
        rows = slice((top - above) * BLOCK, image.height if bottom == block_rows else (bottom + below) * BLOCK)
        features = block_features(luma(Image(image.pixels[:, rows])))[0]
        yield features[above * block_columns : len(features) - below * block_columns]
        let_go(image.pixels)


METRIC = Metric(
    name="niqe",
    higher_is_better=False,
    range=(0.0, WORST),
    reference="none",
    about="How far local statistics are from those of good photographs; noise, blur and artefacts raise it.",
    measure=niqe,
)
