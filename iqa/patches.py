"""The image inputs of the networks of iqa/: nine patches at full resolution and the downscaled whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imaging.image import Image
from imaging.resizing import resize
from iqa.crops import GRID, Box, crops_of

if TYPE_CHECKING:
    from torch import Tensor


SIDE = 96
"""Pixels of the side of each patch, and of the downscaled whole."""
COUNT = GRID * GRID
FINE_PX = 5
"""Side in pixels of the window whose mean is subtracted to get fine detail."""
BLOCK = 8
"""Patches begin at multiples of this, so that JPEG blocks have the same alignment in all of them."""


@dataclass(frozen=True, slots=True)
class Patches:
    """The image inputs of a network."""

    near: Tensor
    """(9, 3, 96, 96) RGB in [0, 1], unscaled pixels; patches of smaller images are padded by reflection."""
    whole: Tensor
    """(3, 96, 96) RGB in [0, 1], the image resized to a square."""
    cells: tuple[int, ...]
    """The cell of a 3x3 grid that each patch lies in, counted row by row."""


def extract_patches(
    image: Image, crops: tuple[Box, ...] | None = None, enlarged: int = 1, small: Image | None = None
) -> Patches:
    """Cut the patches at the centres of `crops`, by default those of `crops_of`.

    `enlarged`: 2 or 4 gives the patches that the image would have if it were enlarged (bicubic). `small`: the image
    already reduced by `imaging.resizing.averaged` for at least `SIDE`, to save time.
    """
    import torch

    boxes = crops or crops_of(image)
    near = torch.stack([_window(image, box, enlarged) for box in boxes])
    cells = tuple(
        min(GRID - 1, int(GRID * (box.top + box.bottom) / 2)) * GRID
        + min(GRID - 1, int(GRID * (box.left + box.right) / 2))
        for box in boxes
    )
    return Patches(near, resize((small or image).pixels, SIDE, SIDE), cells)


def fine_detail(patches: Patches) -> tuple[float, ...]:
    """Mean absolute difference of each patch from its local mean, in [0, 1]."""
    from torch.nn.functional import avg_pool2d

    grey = patches.near.mean(1, keepdim=True)
    local = avg_pool2d(grey, FINE_PX, 1, FINE_PX // 2, count_include_pad=False)
    return tuple((grey - local).abs().mean((1, 2, 3)).tolist())


def _window(image: Image, box: Box, enlarged: int) -> Tensor:
    """(3, 96, 96) around the centre of the box, shifted to lie inside the image where that is large enough."""
    side = SIDE // enlarged
    top = _start((box.top + box.bottom) / 2, image.height * enlarged) // enlarged
    left = _start((box.left + box.right) / 2, image.width * enlarged) // enlarged
    patch = image.pixels[:, top : top + side, left : left + side]
    if enlarged > 1:
        patch = resize(patch, patch.shape[1] * enlarged, patch.shape[2] * enlarged).clamp(0, 1)
    return _filled(_filled(patch, 1), 2)


def _start(middle: float, size: int) -> int:
    first = min(round(middle * size) - SIDE // 2, size - SIDE)
    return max(0, first) // BLOCK * BLOCK


def _filled(patch: Tensor, axis: int) -> Tensor:
    """Pad to 96 pixels along an axis by reflection, repeatedly for very small images."""
    import torch

    while patch.shape[axis] < SIDE:
        patch = torch.cat([patch, patch.flip(axis)], axis).narrow(axis, 0, min(SIDE, 2 * patch.shape[axis]))
    return patch
