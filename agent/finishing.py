"""Finishing of results: colours of the input, film grain, exact final size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from agent.state import Plan, Step
from imaging.colour import align_low_frequencies, is_grey, without_colour
from imaging.convert import rounded
from imaging.flat import keep_flat
from imaging.grain import add_grain
from imaging.image import Image
from imaging.pixel_art import dots_enlarged, is_pixel_art
from imaging.pixels import row_chunks
from imaging.resizing import resize
from toolbox.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

ALIGN_FROM_SIDE = 1024
"""4KAgent aligns the colours of super-resolution results from this longer side on."""
LEAST_COLOUR = 0.01
"""Mean difference between channels above which an expert counts as having coloured a grey picture."""


class Mask(Protocol):
    """Where a result may replace its picture; `agent.regions.RegionMask` is one."""

    @property
    def key(self) -> str:
        """Masks with equal keys are equal."""

    def __call__(self, image: Image) -> Tensor:
        """(1, H, W) in [0, 1]: 1 where the result replaces `image`."""


@dataclass(frozen=True, slots=True, eq=False)
class Finishing:
    """Options for the result as a whole."""

    strength: float = 1.0
    """1: the result as it is; 0: the input, resized."""
    mask: Mask | None = None
    """Where the result replaces its picture; None: everywhere."""
    size: tuple[int, int] | None = None
    """Width and height; None: those of the plan."""
    strip_metadata: bool = False
    """Without EXIF, XMP, IPTC and map."""
    keep_print_size: bool = False
    """With a resolution that is multiplied by the enlargement."""


def quantize_uint16(result: Image, before: Image, step: Step, expert: str) -> Image:
    """Round a candidate to 16 bit, as it is stored if it wins, without small colour errors if `before` is grey.

    After super-resolution, flat areas keep their colour, pixel art keeps hard edges, and a large result gets
    the low frequencies of `before`. The step is noted in the XMP history.
    """
    pixels, is_coloured = result.pixels, not is_grey(before.pixels) or _has_colours(result.pixels)
    if step.task is Task.OLD_PHOTO_RESTORATION and before.greyscale and is_coloured:
        result = replace(result, greyscale=False)
    if step.task is Task.SUPER_RESOLUTION and result.long_side >= ALIGN_FROM_SIDE:
        pixels = align_low_frequencies(pixels, before.pixels)
    if step.task is Task.SUPER_RESOLUTION:
        is_art = is_pixel_art(before.pixels)
        pixels = dots_enlarged(before.pixels, step.scale) if is_art else keep_flat(pixels, before.pixels)
    if not is_coloured and not is_grey(pixels):
        pixels = without_colour(pixels)
    return result.with_pixels(rounded(pixels), clamp=False).with_note(f"{step} by {expert}")


def _has_colours(pixels: Tensor) -> bool:
    """Whether the channels differ by more than rounding and small errors of an expert."""
    differences = (float((pixels[:2, rows] - pixels[1:, rows]).abs().sum()) for rows in row_chunks(pixels))
    return sum(differences) / pixels[:2].numel() > LEAST_COLOUR


def finish(image: Image, plan: Plan, grain: float = 0.0, scale: float = 1.0) -> Image:
    """The result in its final size, with the film grain of an enlargement by `scale`; grey stays grey."""
    pixels = resize(image.pixels, plan.final_height, plan.final_width)
    if grain:
        pixels = add_grain(pixels, grain, scale)
    if image.greyscale or is_grey(image.pixels):
        pixels = without_colour(pixels)
    finished = image.with_pixels(pixels)
    if (finished.width, finished.height) == (image.width, image.height):
        return finished
    return finished.with_note(f"resized to {finished.width}x{finished.height}")


def blend(before: Image, after: Image, strength: float, mask: Tensor | None = None) -> Image:
    """Blend `after` over `before`, resized to it, by `strength` times the mask."""
    if strength == 1 and mask is None:
        return after
    pixels = resize(before.pixels, after.height, after.width)
    weight = strength if mask is None else strength * resize(mask, after.height, after.width)
    return after.with_pixels(pixels + weight * (after.pixels - pixels))
