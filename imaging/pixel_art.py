"""Pixel art: pictures of few colours whose dots are squares of several pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from imaging.pixels import row_chunks

if TYPE_CHECKING:
    from torch import Tensor

MOST_COLOURS = 256
PROBE_ROWS = 64


def is_pixel_art(pixels: Tensor) -> bool:
    """Whether (3, H, W) consists of squares of at least 2x2 pixels, on an integer grid, in few colours."""
    if _grid(pixels[:, :PROBE_ROWS]) == 1 or (grid := _grid(pixels)) < 2 or pixels.shape[1] % grid:
        return False
    dots = pixels[:, ::grid, ::grid].flatten(1).T.mul(65535).round()
    import torch

    colours: Tensor = torch.unique(dots, dim=0)
    return 2 < len(colours) <= MOST_COLOURS


def dots_enlarged(pixels: Tensor, scale: int) -> Tensor:
    """(3, H, W) -> (3, H * scale, W * scale) with sharp dots."""
    return pixels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def _grid(pixels: Tensor) -> int:
    """The largest grid spacing that fits all colour changes along rows and columns; 0 if there are none."""
    import torch

    height, width = pixels.shape[-2:]
    columns, lines = torch.zeros(width - 1, dtype=torch.bool), torch.zeros(height - 1, dtype=torch.bool)
    for rows in row_chunks(pixels):
        after = slice(max(rows.start, 1), rows.stop)
        columns |= (pixels[:, rows, 1:] != pixels[:, rows, :-1]).any(dim=1).any(dim=0)
        before = slice(after.start - 1, after.stop - 1)
        lines[before] = (pixels[:, after] != pixels[:, before]).any(dim=2).any(dim=0)
    across, down = ((changes.nonzero().flatten() + 1).tolist() for changes in (columns, lines))
    return math.gcd(width, *across, *down) if across and down else 0
