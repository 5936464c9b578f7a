"""Areas of one colour in pages, drawings and screenshots, which a network may cover with ghost lines and halos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imaging.pixels import empty, row_chunks

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 2 / 255
"""Maximum deviation of an enlarged area from its colour; smooth gradients of 8 bit stay below."""
REACH = 8
"""Distance in pixels from an area of one colour up to which pixels, as those between letters, are clamped to it."""


def keep_flat(pixels: Tensor, before: Tensor) -> Tensor:
    """(3, sH, sW) `pixels` with the colour of (3, H, W) `before` where its 3x3 neighbourhood has exactly one colour.

    Near such an area, if its colour is the local maximum or minimum, nothing becomes brighter or darker than it:
    letters keep their strokes and get no halos. Pixels within `TOLERANCE` are unchanged. Returns the same tensor if
    there are no such areas.
    """
    import torch

    height, width = before.shape[-2:]
    scale = pixels.shape[-1] // width
    if pixels.shape[-2:] != (height * scale, width * scale):
        return pixels
    result = None
    for rows in row_chunks(pixels):
        top, bottom = rows.start // scale, -(-rows.stop // scale)
        bounds = _bounds(before, top, bottom)
        if bounds is None:
            continue
        if result is None:
            result = empty(tuple(pixels.shape))
            for some in row_chunks(pixels, result):
                result[:, some] = pixels[:, some]
        inner = slice(rows.start - top * scale, rows.stop - top * scale)
        least, most = (_repeated(bound, scale)[:, inner] for bound in bounds)
        result[:, rows] = torch.clamp(pixels[:, rows], least - TOLERANCE, most + TOLERANCE)
    return pixels if result is None else result


def flat_share(pixels: Tensor) -> float:
    """The share of the pixels of (3, H, W) whose 3x3 neighbourhood has exactly one colour."""
    count = 0
    for rows in row_chunks(pixels):
        start = max(0, rows.start - 1)
        flat = _is_flat(pixels[:, start : rows.stop + 1])
        count += int(flat[rows.start - start : rows.stop - start].sum())
    return count / pixels[0].numel()


def _bounds(before: Tensor, top: int, bottom: int) -> tuple[Tensor, Tensor] | None:
    """The minimum and maximum value of the pixels of some rows when enlarged; outside [0, 1] if unrestricted.

    None if there is no area of one colour.
    """
    import torch

    start = max(0, top - REACH - 1)
    around = before[:, start : bottom + REACH + 1]
    flat = _is_flat(around)
    if not flat.any():
        return None
    bounds = []
    for values in (-around, around):
        most, of_areas = (_largest(one, REACH) for one in (values, torch.where(flat, values, -2)))
        bound = torch.where(flat, values, torch.where(of_areas == most, most, 2))
        bounds.append(bound[:, top - start : bottom - start])
    return -bounds[0], bounds[1]


def _is_flat(pixels: Tensor) -> Tensor:
    """(H, W): whether the 3x3 neighbourhood, clipped to the picture, has exactly one colour."""
    import torch

    (across, down), (_, height, width) = (_equal(pixels, axis) for axis in (2, 1)), pixels.shape
    rows = torch.ones(height, width, dtype=torch.bool)  # whether a pixel equals its neighbours to the left and right
    rows[:, 1:] &= across
    rows[:, :-1] &= across
    flat = rows.clone()
    flat[1:] &= rows[:-1] & down
    flat[:-1] &= rows[1:] & down
    return flat


def _equal(pixels: Tensor, axis: int) -> Tensor:
    """Whether each pixel of (C, H, W) equals the next one along an axis."""
    length = pixels.shape[axis] - 1
    same: Tensor = (pixels.narrow(axis, 0, length) == pixels.narrow(axis, 1, length)).all(dim=0)
    return same


def _largest(planes: Tensor, reach: int) -> Tensor:
    """Maximum filter: the largest value up to `reach` pixels away."""
    import cv2
    import torch

    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return torch.from_numpy(np.stack([cv2.dilate(plane, window) for plane in planes.numpy()]))


def _repeated(planes: Tensor, scale: int) -> Tensor:
    return planes.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
