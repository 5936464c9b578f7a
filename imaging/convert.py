"""The only place where pixels change between torch and NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

FloatArray: TypeAlias = NDArray[np.float32]
"""(H, W, C) or (H, W) float32 in [0, 1]."""


def to_numpy(pixels: Tensor) -> FloatArray:
    """(C, H, W) tensor -> (H, W, C) float32 array, contiguous."""
    array: FloatArray = np.ascontiguousarray(pixels.detach().float().cpu().numpy().transpose(1, 2, 0))
    return array


def from_numpy(array: NDArray[Any]) -> Tensor:
    """(H, W, C) or (H, W) float array in [0, 1] -> (C, H, W) float32 tensor, contiguous."""
    import torch

    planes = array[:, :, None] if array.ndim == 2 else array
    return torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1), dtype=np.float32))


def to_uint8(array: FloatArray) -> NDArray[np.uint8]:
    """Float in [0, 1] -> 8 bit, rounded to nearest."""
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def to_uint16(array: FloatArray) -> NDArray[np.uint16]:
    """Float in [0, 1] -> 16 bit, rounded to nearest."""
    return np.rint(np.clip(array, 0, 1) * 65535).astype(np.uint16)


def to_float(array: NDArray[Any]) -> FloatArray:
    """8 or 16 bit integers -> float32 in [0, 1]."""
    return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
