"""Pictures for a model or person to look at: a reduced whole, a detail in full resolution, a sheet of candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from agent.state import Step
from imaging.image import Image
from imaging.resizing import fitted, resize
from imaging.writing import encode_image
from iqa.crops import Box, crops_of, cut

if TYPE_CHECKING:
    from torch import Tensor

VIEW_SIDE = 768
DETAIL_SIDE = 256
CELLS = ((6, 256), (12, 192), (40, 128))
"""Maximum number of cells, and the side of a cell in pixels."""
LABEL_HEIGHT = 20
LABEL_SIZE = 12
MARGIN = 3
MOST_BYTES = 512 * 1024
QUALITIES = (92, 80, 65)
SMALLEST = 64
"""Long side in pixels below which a picture is not reduced further."""


def whole_and_detail(image: Image, most_bytes: int = MOST_BYTES) -> tuple[bytes, ...]:
    """The picture reduced to `VIEW_SIDE` if it is larger, then with its most textured 256x256 crop unscaled."""
    pixels = on_white(image)
    if image.long_side <= VIEW_SIDE:
        return (encoded(pixels, most_bytes),)
    whole = resize(pixels, *fitted(image.height, image.width, VIEW_SIDE))
    detail = cut(Image(pixels), crops_of(image)[0], largest=DETAIL_SIDE)
    return encoded(whole, most_bytes), encoded(detail, most_bytes)


def candidate_sheet(
    before: Image,
    candidates: Mapping[str, Image],
    step: Step,
    most_bytes: int = MOST_BYTES,
    box: Box | None = None,
) -> bytes:
    """A contact sheet: the input first, then every candidate, each under its label.

    A candidate that is the input itself is shown once, in the first place. All cells show the same detail, or the
    whole picture if the step changes it globally or it fits into a cell; `box` selects another part. PNG of at most
    `most_bytes`, otherwise JPEG.
    """
    import torch

    side = next((side for most, side in CELLS if len(candidates) < most), CELLS[-1][1])
    is_whole = step.task.spec.is_global or before.long_side * step.scale <= side
    if box is None and not is_whole:
        box = crops_of(before)[0]
    first = _part(before, box, max(1, side // step.scale))
    unchanged = next((label for label, image in candidates.items() if image is before), "input")
    changed = ((label, image) for label, image in candidates.items() if image is not before)
    cells = [(unchanged, first), *((label, _part(image, box, side)) for label, image in changed)]
    columns = math.ceil(math.sqrt(len(cells)))
    drawn = [_cell(label, part, side) for label, part in cells]
    drawn += [torch.ones_like(drawn[0])] * (-len(drawn) % columns)
    rows = [torch.cat(drawn[start : start + columns], dim=2) for start in range(0, len(drawn), columns)]
    return encoded(torch.cat(rows, dim=1), most_bytes)


def encoded(pixels: Tensor, most_bytes: int) -> bytes:
    """(3, h, w) in [0, 1] as a PNG of at most `most_bytes`, otherwise as a JPEG, reduced if necessary."""
    while (data := encoded_at_its_size(pixels, most_bytes)) is None:
        height, width = pixels.shape[1:]
        if max(height, width) < SMALLEST:
            return encode_image(Image(pixels), "JPEG", QUALITIES[-1])
        pixels = resize(pixels, height * 3 // 4, width * 3 // 4)
    return data


def encoded_at_its_size(pixels: Tensor, most_bytes: int) -> bytes | None:
    """(3, h, w) in [0, 1] as a PNG of at most `most_bytes`, otherwise as a JPEG; None if neither fits."""
    data = encode_image(Image(pixels), "PNG")
    for quality in QUALITIES:
        if len(data) <= most_bytes:
            return data
        data = encode_image(Image(pixels), "JPEG", quality)
    return data if len(data) <= most_bytes else None


def on_white(image: Image) -> Tensor:
    """The pixels composited on white."""
    return image.pixels if image.alpha is None else image.pixels * image.alpha + (1 - image.alpha)


def mime_type(data: bytes) -> str:
    """The MIME type of a picture from `encoded`."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


def _part(image: Image, box: Box | None, side: int) -> Tensor:
    pixels = on_white(image)
    if box is not None:
        return cut(Image(pixels), box, largest=side)
    return resize(pixels, *fitted(image.height, image.width, min(side, image.long_side)))


def _cell(label: str, part: Tensor, side: int) -> Tensor:
    """(3, side + label, side): the part, enlarged to the cell if it is smaller, on white below its label."""
    import torch

    height, width = fitted(part.shape[1], part.shape[2], side)
    cell = torch.ones(3, side + LABEL_HEIGHT, side)
    cell[:, LABEL_HEIGHT : LABEL_HEIGHT + height, :width] = resize(part, height, width)
    cell[:, :LABEL_HEIGHT] = _label(label, side)
    return cell


def _label(text: str, width: int) -> Tensor:
    import numpy as np
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    from imaging.convert import from_numpy, to_float

    strip = PIL.Image.new("L", (width, LABEL_HEIGHT), 255)
    length = PIL.ImageFont.load_default(LABEL_SIZE).getlength(text)
    font = PIL.ImageFont.load_default(LABEL_SIZE * min(1.0, (width - 4 * MARGIN) / max(length, 1)))
    PIL.ImageDraw.Draw(strip).text((MARGIN, MARGIN), text, fill=0, font=font)
    return from_numpy(to_float(np.asarray(strip))).expand(3, -1, -1)
