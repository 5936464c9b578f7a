"""Pictures in replies: original pixels, two versions side by side, their difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mcp.types import ImageContent

from agent.reasoners.sheet import encoded, encoded_at_its_size, on_white
from agent.regions import most_changed, require_same_shape
from imaging.colour import luma
from imaging.convert import to_numpy
from imaging.image import Image
from imaging.network_space import in_file_space
from imaging.preparing import prepared
from imaging.resizing import fitted, resize
from iqa.crops import Box, overview
from server.mcp.responses import fact, shown

if TYPE_CHECKING:
    from torch import Tensor

LOOK_SIDES = (1024, 768, 512)
"""Longer side of one picture in a reply of `look`; a smaller one if the picture would have too many bytes."""
MOST_LOOK_BYTES = 480_000
MOST_PREVIEW_BYTES = 90_000
"""Maximum bytes of a picture in other replies, which stay in the conversation."""
PREVIEW_SIDE = 448
DETAIL_SIDES = (320, 240, 160)
GAP = 4
AMPLIFIED = 4.0
"""Factor of a difference; mid-grey is no difference."""
CORRELATION_SIDE = 48
LEAST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True)
class Part:
    """A picture in a reply, with the box that it shows and its scale."""

    data: bytes
    """PNG or JPEG."""
    left: int
    top: int
    width: int
    height: int
    """The box in pixels of the image, or of the larger of two versions."""
    scale: float
    """Pixels of the picture per pixel of the image."""
    is_above: bool = False
    """Of two versions: whether the first is above the second, not left of it."""

    @property
    def region(self) -> str:
        """The box as tools understand it."""
        return f"{self.left},{self.top},{self.width},{self.height}"


def look_at(image: Image, box: Box, scale: float | None) -> Part:
    """The box at `scale` display pixels per pixel, cropped to its centre if a reply cannot hold it.

    None: 1 where that fits, otherwise the whole box, reduced.
    """
    return _part(image, (image,), box, scale, LOOK_SIDES, MOST_LOOK_BYTES)


def side_by_side(first: Image, second: Image, box: Box, scale: float | None, *, difference: bool = False) -> Part:
    """The same part of two versions of a picture, in the pixels of the larger one.

    Wide parts are above each other; with `difference` the second minus the first, amplified, on mid-grey.
    """
    require_same_shape(first, second)
    larger = max(first, second, key=lambda one: one.long_side)
    sides = LOOK_SIDES if difference else tuple(side // 2 for side in LOOK_SIDES)
    return _part(larger, (first, second), box, scale, sides, MOST_LOOK_BYTES, is_difference=difference)


@dataclass(frozen=True, slots=True)
class BeforeAndAfter:
    """The pictures of a reply about a result, and the line that describes them."""

    line: str
    pictures: tuple[ImageContent, ...]


def before_and_after(before: Image, after: Image, *, with_detail: bool = True) -> BeforeAndAfter:
    """The whole before and after, and one detail in original pixels where they differ most."""
    pictures, line = [shown(overview_of_two(before, after))], "before, then after"
    if after.long_side > PREVIEW_SIDE:
        line += ": the whole, reduced"
        if with_detail:
            window = min(1.0, DETAIL_SIDES[0] / after.width), min(1.0, DETAIL_SIDES[0] / after.height)
            box = window_around(most_changed(before, after, window), after, DETAIL_SIDES[0])
            detail = _part(after, (before, after), box, 1.0, DETAIL_SIDES, MOST_PREVIEW_BYTES)
            pictures.append(shown(detail.data))
            line += f"; {detail.region} at {detail.scale:.0%}"
    return BeforeAndAfter(fact("pictures", line), tuple(pictures))


def overview_of_two(first: Image, second: Image) -> bytes:
    """Two versions of a picture side by side, reduced."""
    size = fitted(second.height, second.width, min(PREVIEW_SIDE, second.long_side))
    return encoded(_joined([resize(on_white(image), *size) for image in (first, second)]), MOST_PREVIEW_BYTES)


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


def window_around(box: Box, image: Image, side: int = LOOK_SIDES[-1]) -> Box:
    """The box of `side` pixels around the centre of another one, moved and cut to fit into the image."""
    width, height = min(1.0, side / image.width), min(1.0, side / image.height)
    left = min(max(0.0, (box.left + box.right - width) / 2), 1 - width)
    top = min(max(0.0, (box.top + box.bottom - height) / 2), 1 - height)
    return Box(left, top, left + width, top + height)


def _part(
    larger: Image,
    images: Sequence[Image],
    box: Box,
    scale: float | None,
    sides: Sequence[int],
    most_bytes: int,
    *,
    is_difference: bool = False,
) -> Part:
    """The box of all images, with the first of `sides` as longer side at which they fit into `most_bytes`."""
    columns, rows = _span(box.left, box.right, larger.width), _span(box.top, box.bottom, larger.height)
    for side in sides:
        at = scale or min(1.0, side / max(len(columns), len(rows)))
        wide, high = _middle(columns, side / at), _middle(rows, side / at)
        size = max(1, round(len(high) * at)), max(1, round(len(wide) * at))
        cut = Box(
            wide.start / larger.width, high.start / larger.height, wide.stop / larger.width, high.stop / larger.height
        )
        parts = [resize(_cut(on_white(image), cut), *size) for image in images]
        pixels = (0.5 + AMPLIFIED * (parts[-1] - parts[0])).clamp(0, 1) if is_difference else _joined(parts)
        data = encoded_at_its_size(pixels, most_bytes)
        if data is not None:
            break
    return Part(
        data or encoded(pixels, most_bytes), wide.start, high.start, len(wide), len(high), at, _is_wide(parts[0])
    )


def _span(start: float, stop: float, side: int) -> range:
    """The pixels between two fractions of a side; at least one."""
    first = min(round(start * side), side - 1)
    return range(first, max(round(stop * side), first + 1))


def _middle(span: range, most: float) -> range:
    """The middle of a span: at most `most` pixels, but at least one."""
    kept = max(1, round(min(most, len(span))))
    start = (len(span) - kept) // 2
    return span[start : start + kept]


def _cut(pixels: Tensor, box: Box) -> Tensor:
    rows = _span(box.top, box.bottom, int(pixels.shape[1]))
    columns = _span(box.left, box.right, int(pixels.shape[2]))
    return pixels[:, rows.start : rows.stop, columns.start : columns.stop]


def _is_wide(part: Tensor) -> bool:
    return int(part.shape[2]) > 2 * int(part.shape[1])


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Side by side, with a white gap; above each other where they are wide."""
    import torch

    height, width = parts[0].shape[1:]
    wide = _is_wide(parts[0])
    gap = torch.ones((3, GAP, width) if wide else (3, height, GAP))
    between = [one for part in parts for one in (gap, part)][1:]
    return torch.cat(between, dim=1 if wide else 2)
