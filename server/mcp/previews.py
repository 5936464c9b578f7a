"""Pictures in replies: original pixels, two versions side by side, their difference."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mcp.types import ImageContent

from agent.reasoners.sheet import encoded, on_white
from agent.regions import most_changed, require_same_shape
from imaging.colour import luma
from imaging.convert import to_numpy
from imaging.image import Image
from imaging.network_space import in_file_space
from imaging.preparing import prepared
from imaging.resizing import fitted, resize
from iqa.crops import Box, overview
from server.mcp.responses import shown

if TYPE_CHECKING:
    from torch import Tensor

LOOK_SIDE = 1024
"""Longer side of one picture in a reply of `look`."""
MOST_LOOK_BYTES = 480_000
MOST_PREVIEW_BYTES = 90_000
"""Maximum bytes of a picture in other replies, which stay in the conversation."""
PREVIEW_SIDE = 448
DETAIL_SIDE = 320
GAP = 4
AMPLIFIED = 4.0
"""Factor of a difference; mid-grey is no difference."""
CORRELATION_SIDE = 48
LEAST_SPREAD = 1e-6


def look_at(image: Image, box: Box, scale: float | None, side: int = LOOK_SIDE) -> Tensor:
    """(3, h, w): the box at `scale` display pixels per pixel, cut at its centre to `side`.

    None: 1 where that fits, otherwise the whole box, reduced.
    """
    pixels = _cut(on_white(image), box)
    height, width = int(pixels.shape[1]), int(pixels.shape[2])
    if scale is None:
        scale = min(1.0, side / max(height, width))
    most = max(1, round(side / scale))
    top, left = max(0, (height - most) // 2), max(0, (width - most) // 2)
    pixels = pixels[:, top : top + most, left : left + most]
    return resize(pixels, max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[2] * scale)))


def side_by_side(
    first: Image, second: Image, box: Box, scale: float | None, *, difference: bool = False
) -> tuple[Tensor, bool]:
    """(3, h, w): the same part of two versions of a picture, in the pixels of the larger one.

    Side by side, wide parts above each other, which is also returned; with `difference` the second minus the first,
    amplified, on mid-grey.
    """
    require_same_shape(first, second)
    larger = max(first, second, key=lambda one: one.long_side)
    parts = []
    for image in (first, second):
        pixels = _cut(on_white(image), box)
        height, width = _size(larger, box)
        side = LOOK_SIDE if difference else LOOK_SIDE // 2
        whole = Image(resize(pixels, height, width))
        parts.append(look_at(whole, Box(0, 0, 1, 1), scale, side))
    if difference:
        return (0.5 + AMPLIFIED * (parts[1] - parts[0])).clamp(0, 1), False
    return _joined(parts), _is_wide(parts[0])


def before_and_after(before: Image, after: Image) -> tuple[ImageContent, ...]:
    """The whole before and after, and one detail in original pixels where they differ most."""
    pictures = [shown(overview_of_two(before, after))]
    if after.long_side > PREVIEW_SIDE:
        window = min(1.0, DETAIL_SIDE / after.width), min(1.0, DETAIL_SIDE / after.height)
        box = _around(most_changed(before, after, window), after, DETAIL_SIDE)
        height, width = _size(after, box)
        parts = [resize(_cut(on_white(image), box), height, width) for image in (before, after)]
        pictures.append(shown(encoded(_joined(parts), MOST_PREVIEW_BYTES)))
    return tuple(pictures)


def overview_of_two(first: Image, second: Image) -> bytes:
    """Two versions of a picture side by side, reduced."""
    return encoded(_joined([_reduced(image, second) for image in (first, second)]), MOST_PREVIEW_BYTES)


def brightness_correlation(first: Image, second: Image) -> float:
    """Correlation of the brightness of two reduced pictures, -1..1; 1 if both are uniform."""
    a, b = (luma(overview(image, CORRELATION_SIDE)) for image in (first, second))
    if a.shape != b.shape:
        b = luma(to_numpy(resize(second.pixels, *a.shape)))
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread > LEAST_SPREAD else 1.0


def centred(image: Image, width: int, height: int) -> Image:
    """The central crop of the image with the aspect ratio of `width` by `height`."""
    scale = min(image.width / width, image.height / height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    rows, columns = slice(top, top + high), slice(left, left + wide)
    whole = in_file_space(image)
    alpha = None if image.alpha is None else image.alpha[:, rows, columns].contiguous()
    return prepared(replace(whole, pixels=whole.pixels[:, rows, columns].contiguous(), alpha=alpha))


def _around(box: Box, image: Image, side: int) -> Box:
    """The box of `side` pixels around the centre of another one."""
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    width, height = min(1.0, side / image.width), min(1.0, side / image.height)
    left, top = min(max(0.0, x - width / 2), 1 - width), min(max(0.0, y - height / 2), 1 - height)
    return Box(left, top, left + width, top + height)


def _cut(pixels: Tensor, box: Box) -> Tensor:
    height, width = int(pixels.shape[1]), int(pixels.shape[2])
    top, left = min(int(box.top * height), height - 1), min(int(box.left * width), width - 1)
    bottom, right = max(round(box.bottom * height), top + 1), max(round(box.right * width), left + 1)
    return pixels[:, top:bottom, left:right]


def _size(image: Image, box: Box) -> tuple[int, int]:
    """Height and width of the box in pixels of an image."""
    part = _cut(image.pixels, box)
    return int(part.shape[1]), int(part.shape[2])


def _reduced(image: Image, other: Image) -> Tensor:
    height, width = fitted(other.height, other.width, min(PREVIEW_SIDE, other.long_side))
    return resize(on_white(image), height, width)


def _is_wide(part: Tensor) -> bool:
    return int(part.shape[2]) > 2 * int(part.shape[1])


def _joined(parts: list[Tensor]) -> Tensor:
    """Side by side, with a white gap; above each other where they are wide."""
    import torch

    height, width = parts[0].shape[1:]
    wide = _is_wide(parts[0])
    gap = torch.ones((3, GAP, width) if wide else (3, height, GAP))
    return torch.cat([parts[0], gap, parts[1]], dim=1 if wide else 2)
