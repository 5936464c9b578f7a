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
"""Distance in pixels up to which pixels near an area of one colour, such as between letters, belong to it."""


def keep_flat(pixels: Tensor, before: Tensor) -> Tensor:
    """(3, sH, sW) with the colour of (3, H, W) `before` wherever the 3x3 pixels around are exactly that colour.

    Near such an area, where its colour is the brightest or the darkest around, nothing is brighter or darker: letters
    keep their strokes and get no halos. Pixels within `TOLERANCE` stay as they are. The same tensor if there are no
    such areas.
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
    """The share of the pixels of (3, H, W) around which the 3x3 pixels are exactly of one colour."""
    count = 0
    for rows in row_chunks(pixels):
        start = max(0, rows.start - 1)
        flat = _is_flat(pixels[:, start : rows.stop + 1])
        count += int(flat[rows.start - start : rows.stop - start].sum())
    return count / pixels[0].numel()


def _bounds(before: Tensor, top: int, bottom: int) -> tuple[Tensor, Tensor] | None:
    """The least and the largest value that pixels of some rows may have when enlarged, beyond 0 and 1 if any.

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
    """(H, W): whether the 3x3 pixels around, as far as they are in the picture, are exactly of one colour."""
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
    """The largest of the values around, up to so many pixels away."""
    import cv2
    import torch

    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return torch.from_numpy(np.stack([cv2.dilate(plane, window) for plane in planes.numpy()]))


def _repeated(planes: Tensor, scale: int) -> Tensor:
    return planes.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
