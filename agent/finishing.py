"""The last touches: colour as in the input, exactly the promised size."""

from __future__ import annotations

from agent.state import Plan, Step
from imaging.colour import align_low_frequencies
from imaging.image import Image
from imaging.pixels import strips, zeros
from imaging.resizing import resize
from toolbox.tasks import Task

ALIGN_FROM_SIDE = 1024
"""4KAgent aligns the colours of super-resolution results from this longer side on."""


def align_colour(result: Image, before: Image, step: Step) -> Image:
    """Take the colours of a large super-resolution result from the step's input; other results stay as they are."""
    if step.task is not Task.SUPER_RESOLUTION or result.long_side < ALIGN_FROM_SIDE:
        return result
    return result.with_pixels(align_low_frequencies(result.pixels, before.pixels))


def finish(image: Image, plan: Plan) -> Image:
    """The result in its final size; grey stays grey."""
    pixels = resize(image.pixels, plan.final_height, plan.final_width)
    if image.greyscale:
        grey = zeros(tuple(pixels.shape))
        for rows in strips(pixels, grey):
            grey[:, rows] = pixels[:, rows].mean(dim=0)
        pixels = grey
    return image.with_pixels(pixels)
