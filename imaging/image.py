"""What an image is while it is being restored: pixels, alpha, and what its file said about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One picture. Immutable: whoever changes pixels makes a new one with `with_pixels`."""

    pixels: Tensor
    """(3, H, W) float32 in [0, 1], RGB order, in the colour space of `icc_profile` (sRGB where None), on the CPU."""
    alpha: Tensor | None = None
    """(1, H, W) float32 in [0, 1], straight (not premultiplied); None where the image is opaque."""
    icc_profile: bytes | None = None
    exif: bytes | None = None
    """The EXIF block without its orientation, which reading has already applied."""
    bit_depth: int = 8
    """8 or 16: what the file held, and what it is written back as."""
    greyscale: bool = False
    """The file held one colour channel; the three here are equal, and one is written back."""
    quantization_relative_to_q50: float | None = None
    """How coarse a JPEG the file holds, by its own table: luminance steps relative to quality 50; None of others."""

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[-2])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[-1])

    @property
    def long_side(self) -> int:
        """The larger of width and height."""
        return max(self.width, self.height)

    def with_pixels(self, pixels: Tensor, *, clamp: bool = True) -> Image:
        """The same picture with other pixels; where their size differs, alpha is resized along.

        `pixels`: (3, H, W) float32; clamped to [0, 1], and not to be written to any more. `clamp`: False where they
        are contiguous and within these bounds for sure, which takes as long to see as to read them all.
        """
        from imaging.colour import clamped
        from imaging.resizing import resize

        alpha = self.alpha
        height, width = int(pixels.shape[-2]), int(pixels.shape[-1])
        if alpha is not None and (height, width) != (self.height, self.width):
            alpha = resize(alpha, height, width)
        pixels = clamped(pixels) if clamp else pixels
        return replace(self, pixels=pixels, alpha=alpha, quantization_relative_to_q50=None)
