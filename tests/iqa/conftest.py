"""Photographs that come with scikit-image, as `Image`s."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import skimage.data

from imaging.convert import FloatArray, from_numpy, to_float
from imaging.image import Image

NAMES = ("astronaut", "coffee", "chelsea", "rocket")


@pytest.fixture(scope="session")
def picture() -> Callable[[FloatArray], Image]:
    """Makes an `Image` of (H, W, 3) floats, rounded to 8 bits as a file would hold it."""
    return lambda pixels: Image(from_numpy(np.rint(np.clip(pixels, 0, 1) * 255) / 255))


@pytest.fixture(scope="session")
def photos() -> dict[str, FloatArray]:
    """(H, W, 3) floats in [0, 1] by name."""
    return {name: to_float(getattr(skimage.data, name)()[..., :3]) for name in NAMES}
