"""Makers of training pairs, by the names that recipes use."""

from __future__ import annotations

import numpy as np

from training.data import Bytes, Degrader, Pair, shrink


def degrader(name: str, scale: int) -> Degrader:
    """The maker called `name`; `ValueError` where there is none."""
    if name == "bicubic":
        return lambda patch, rng: bicubic(patch, scale)
    raise ValueError(f"no maker of training pairs is called {name!r}")


def bicubic(patch: Bytes, scale: int) -> Pair:
    """Classical super-resolution: the input is the bicubic reduction."""
    return _unit(shrink(patch, scale)), _unit(patch)


def _unit(patch: Bytes) -> np.ndarray:
    return patch.astype(np.float32) / 255
