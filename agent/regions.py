"""Regions of a picture, parsed from text: coordinates, faces, the place with most detail or change, a mask image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import RegionError
from agent.faces.detection import face_tools, find_faces
from imaging.convert import FloatArray, from_numpy, to_numpy
from imaging.image import Image
from imaging.resizing import fitted, resize
from iqa.crops import Box, crops_of
from toolbox.store import ModelStore

if TYPE_CHECKING:
    from torch import Tensor

WHOLE = Box(0.0, 0.0, 1.0, 1.0)
CENTRE = Box(0.25, 0.25, 0.75, 0.75)
FORMS = (
    'give "x, y, width, height" in fractions or pixels, a polygon "x1,y1 x2,y2 x3,y3", "face 1", "faces", "centre", '
    '"most detail", "most changed", or for a tool that changes the picture a mask image'
)
FACE_MARGIN = 0.3
"""Margin on each side of a detected face, relative to its size."""
COMPARED_SIDE = 512
"""Longer side at which two versions are compared."""
CHANGED_WINDOW = 0.2
FEATHER = 0.01
"""Width of the soft edge, which lies inside the region, relative to the longer side."""
SAME_SHAPE = 0.02
"""Relative difference of aspect ratio allowed between two versions of a picture."""
LEAST_POLYGON = 6
"""Minimum count of numbers: a triangle."""


@dataclass(frozen=True, slots=True)
class Region:
    """A box or, with corners, the polygon in it; in fractions of width and height."""

    box: Box
    polygon: tuple[tuple[float, float], ...] = ()


def is_region(text: str) -> bool:
    """Whether a text describes a region; otherwise it may name a mask image."""
    return bool(_numbers(text)) or _plain(text) in NAMES or bool(re.fullmatch(r"faces?( \d{1,9})?", _plain(text)))


def is_place(text: str) -> bool:
    """Whether a text names a place without an extent: that with most detail or change."""
    return NAMES.get(_plain(text)) in ("detail", "changed")


def regions_of(text: str, image: Image, other: Image | None = None) -> tuple[Region, ...]:
    """The regions of `image` that a text describes; only `faces` gives several.

    `other`: the picture that "most changed" compares with. Raises `RegionError`.
    """
    name = _plain(text)
    if numbers := _numbers(text):
        return (_region_from(numbers, text, image),)
    if face := re.fullmatch(r"faces?(?: (\d{1,9}))?", name):
        return _faces(image, int(face[1]) if face[1] else None)
    if name not in NAMES:
        raise RegionError(f"there is no region {text[:80]!r}", FORMS)
    match NAMES[name]:
        case "whole":
            return (Region(WHOLE),)
        case "centre":
            return (Region(CENTRE),)
        case "detail":
            return (Region(crops_of(image)[0]),)
        case _:
            if other is None:
                raise RegionError("most changed needs two pictures", "give `beside` too")
            return (Region(most_changed(image, other)),)


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    return Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )


NAMES = {
    "": "whole", "whole": "whole", "all": "whole", "full": "whole",
    "centre": "centre", "center": "centre", "middle": "centre",
    "most detail": "detail", "detail": "detail",
    "most changed": "changed", "changed": "changed",
}  # fmt: skip


def most_changed(first: Image, second: Image, window: tuple[float, float] = (CHANGED_WINDOW, CHANGED_WINDOW)) -> Box:
    """The box in which two versions of a picture differ most. `window`: its width and height as shares."""
    import cv2

    height, width = fitted(first.height, first.width, min(COMPARED_SIDE, first.long_side))
    a, b = (to_numpy(resize(one.pixels, height, width)) for one in (first, second))
    difference = np.abs(a - b).mean(axis=2)
    rows, columns = max(1, round(height * window[1])), max(1, round(width * window[0]))
    sums = cv2.boxFilter(difference, -1, (columns, rows), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    inside = sums[: height - rows + 1, : width - columns + 1]
    y, x = np.unravel_index(int(np.argmax(inside)), inside.shape)
    left, top = int(x), int(y)
    within = difference[top : top + rows, left : left + columns]
    if total := float(within.sum()):  # of several boxes with the same changes, the one centred on them
        left += round(float(within.sum(axis=0) @ np.arange(columns)) / total - (columns - 1) / 2)
        top += round(float(within.sum(axis=1) @ np.arange(rows)) / total - (rows - 1) / 2)
        left, top = min(max(0, left), width - columns), min(max(0, top), height - rows)
    return Box(left / width, top / height, (left + columns) / width, (top + rows) / height)


@dataclass(frozen=True, slots=True, eq=False)
class RegionMask:
    """Makes the mask of a region for any picture, from a text or a mask image. Picklable."""

    text: str
    drawn: FloatArray | None = None
    """(H, W, 1) in [0, 1]: the mask image; None if the text describes a region."""

    @classmethod
    def of(cls, text: str, image: Image | None) -> RegionMask:
        """The mask of a region text; `image`: the mask image, if the text names one."""
        return cls(text, None if image is None else to_numpy(image.pixels.mean(dim=0, keepdim=True)))

    @property
    def key(self) -> str:
        """The text and a digest of the mask image; masks with equal keys are equal."""
        digest = "" if self.drawn is None else hashlib.sha256(self.drawn.tobytes()).hexdigest()[:32]
        return f"{self.text} {digest}".strip()

    def __call__(self, image: Image) -> Tensor:
        """(1, H, W): 1 where a result may replace `image`.

        Raises `RegionError` if the picture has no such region, or the mask image has another shape.
        """
        if self.drawn is None:
            return mask_of(regions_of(self.text, image), image.height, image.width)
        mask = from_numpy(self.drawn)
        require_same_shape(image, Image(mask))
        return mask


def have_same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) have the same aspect ratio, except for rounding."""
    return abs(first[0] * second[1] / (first[1] * second[0]) - 1) <= SAME_SHAPE


def require_same_shape(first: Image, second: Image) -> None:
    """Raise `RegionError` if the aspect ratios of two pictures differ."""
    if not have_same_shape((first.width, first.height), (second.width, second.height)):
        raise RegionError(
            f"{first.width}x{first.height} and {second.width}x{second.height} do not have the same shape",
            "give two uncropped versions of one picture, in any size",
        )


def mask_of(regions: tuple[Region, ...], height: int, width: int) -> Tensor:
    """(1, height, width): 1 in the regions, 0 outside, with a soft edge inside."""
    import cv2

    drawn: FloatArray = np.zeros((height, width), np.float32)
    for region in regions:
        if region.polygon:
            corners = [(round(x * width), round(y * height)) for x, y in region.polygon]
            cv2.fillPoly(drawn, [np.array(corners, np.int32)], 1.0)
        else:
            rows = slice(round(region.box.top * height), round(region.box.bottom * height))
            drawn[rows, round(region.box.left * width) : round(region.box.right * width)] = 1
    sigma = max(height, width) * FEATHER
    soft = cv2.GaussianBlur(drawn, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return from_numpy((drawn * np.clip(2 * soft - 1, 0, 1))[..., None])


def _region_from(numbers: list[float], text: str, image: Image) -> Region:
    """The box or polygon of these coordinates, in fractions, percent or pixels."""
    if "%" in text:
        numbers = [number / 100 for number in numbers]
    if max(numbers) > 1:
        sides = (image.width, image.height)
        numbers = [number / sides[index % 2] for index, number in enumerate(numbers)]
    if len(numbers) >= LEAST_POLYGON and len(numbers) % 2 == 0:
        points = tuple((min(x, 1.0), min(y, 1.0)) for x, y in zip(numbers[::2], numbers[1::2], strict=True))
        xs, ys = zip(*points, strict=True)
        return Region(_checked(Box(min(xs), min(ys), max(xs), max(ys)), text), points)
    if len(numbers) != 4:
        raise RegionError(f"{text[:80]!r} has {len(numbers)} numbers", FORMS)
    left, top, width, height = numbers
    return Region(_checked(Box(left, top, min(1.0, left + width), min(1.0, top + height)), text))


def _checked(box: Box, text: str) -> Box:
    if not (0 <= box.left < box.right <= 1 and 0 <= box.top < box.bottom <= 1):
        raise RegionError(f"the region {text[:80]!r} is empty or outside the picture", FORMS)
    return box


def _faces(image: Image, number: int | None) -> tuple[Region, ...]:
    """All faces, the largest first, or the one with that number."""
    found = [one.face for one in find_faces(image, image, face_tools(ModelStore()))]
    if not found or (number is not None and not 1 <= number <= len(found)):
        raise RegionError(f"{len(found)} faces were found", "name another region, or give its numbers")
    regions = []
    for face in found if number is None else [found[number - 1]]:
        x, y = FACE_MARGIN * face.width, FACE_MARGIN * face.height
        box = Box(
            max(0.0, (face.left - x) / image.width),
            max(0.0, (face.top - y) / image.height),
            min(1.0, (face.left + face.width + x) / image.width),
            min(1.0, (face.top + face.height + y) / image.height),
        )
        regions.append(Region(box))
    return tuple(regions)


def _numbers(text: str) -> list[float]:
    """The numbers in a text of numbers and separators; empty for any other text."""
    if not re.fullmatch(r"[\s\d.,;%()\[\]-]+", text):
        return []
    return [float(number) for number in re.findall(r"-?\d*\.?\d+", text)]


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[_-]", " ", text.lower()).split())
