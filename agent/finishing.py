"""The last touches: colour as in the input, exactly the promised size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.state import Plan, Step
from imaging.colour import align_low_frequencies
from imaging.convert import rounded
from imaging.image import Image
from imaging.pixels import empty, row_chunks
from imaging.resizing import resize
from toolbox.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

ALIGN_FROM_SIDE = 1024
"""4KAgent aligns the colours of super-resolution results from this longer side on."""
LEAST_COLOUR = 0.01
"""Mean difference of the channels beyond which an expert has coloured a grey picture."""


def quantize_uint16(result: Image, before: Image, step: Step) -> Image:
    """A candidate as it is kept if it wins: in 16 bit; a large super-resolution result in the colours of `before`."""
    pixels = result.pixels
    if step.task is Task.OLD_PHOTO_RESTORATION and before.greyscale and _has_colours(pixels):
        result = replace(result, greyscale=False)
    if step.task is Task.SUPER_RESOLUTION and result.long_side >= ALIGN_FROM_SIDE:
        pixels = align_low_frequencies(pixels, before.pixels)
    return result.with_pixels(rounded(pixels), clamp=False)


def _has_colours(pixels: Tensor) -> bool:
    """Whether the channels differ by more than an expert's errors."""
    differences = (float((pixels[:2, rows] - pixels[1:, rows]).abs().sum()) for rows in row_chunks(pixels))
    return sum(differences) / pixels[:2].numel() > LEAST_COLOUR


def finish(image: Image, plan: Plan) -> Image:
    """The result in its final size; grey stays grey."""
    pixels = resize(image.pixels, plan.final_height, plan.final_width)
    if image.greyscale:
        grey = empty(tuple(pixels.shape))
        for rows in row_chunks(pixels, grey):
            grey[:, rows] = pixels[:, rows].mean(dim=0)
        pixels = grey
    return image.with_pixels(pixels)
