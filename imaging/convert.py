"""Conversion of pixels between torch and NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imaging.pixels import bands, drop_pages, empty, row_chunks

if TYPE_CHECKING:
    from torch import Tensor

FloatArray: TypeAlias = NDArray[np.float32]
"""(H, W, C) or (H, W) float32 in [0, 1]."""


def to_numpy(pixels: Tensor) -> FloatArray:
    """(C, H, W) tensor -> (H, W, C) float32 array, contiguous."""
    array = empty((*pixels.shape[1:], len(pixels)))
    for rows in row_chunks(pixels):
        array[rows] = pixels[:, rows].detach().permute(1, 2, 0)
        drop_pages(array)
    output: FloatArray = array.numpy()
    return output


def as_array(pixels: Tensor) -> FloatArray:
    """(C, H, W) tensor -> (H, W, C) array that shares its memory."""
    array: FloatArray = pixels.detach().numpy().transpose(1, 2, 0)
    return array


def from_numpy(array: NDArray[Any]) -> Tensor:
    """(H, W, C) or (H, W) float array in [0, 1] -> (C, H, W) float32 tensor, contiguous; no copy after `as_array`."""
    import torch

    planes = (array[:, :, None] if array.ndim == 2 else array).transpose(2, 0, 1)
    if planes.dtype == np.float32 and planes.flags.c_contiguous and planes.flags.writeable:
        return torch.from_numpy(planes)
    pixels = empty(planes.shape)
    for rows in row_chunks(pixels):
        pixels.numpy()[:, rows] = planes[:, rows]
    return pixels


def to_uint8(array: FloatArray) -> NDArray[np.uint8]:
    """Float in [0, 1] -> 8 bit, rounded to nearest."""
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def to_uint16(array: FloatArray) -> NDArray[np.uint16]:
    """Float in [0, 1] -> 16 bit, rounded to nearest."""
    return np.rint(np.clip(array, 0, 1) * 65535).astype(np.uint16)


def rounded(pixels: Tensor) -> Tensor:
    """(C, H, W) rounded to 16 bits in [0, 1], as by `to_uint16` and `to_float`, in a new tensor."""
    import torch

    kept = empty(tuple(pixels.shape))
    for rows in row_chunks(pixels, kept):
        for band in bands(rows, pixels.shape[-1]):
            for plane, rounded_plane in zip(pixels[:, band], kept[:, band], strict=True):
                torch.clamp(plane, 0, 1, out=rounded_plane).mul_(65535).round_().div_(65535)
    return kept


def to_float(array: NDArray[Any]) -> FloatArray:
    """8 or 16 bit integers -> float32 in [0, 1]."""
    return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
