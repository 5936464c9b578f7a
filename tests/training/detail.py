"""A measure of detail for tests of synthesised pictures."""

from __future__ import annotations

import numpy as np

from imaging.convert import FloatArray


def finest_detail(picture: FloatArray) -> float:
    """Differences of neighbours relative to those of pixels that are three apart."""
    near, far = (np.abs(picture[:, step:] - picture[:, :-step]).mean() for step in (1, 3))
    return float(near / far)
