"""An image in memory: pixels, alpha, and the metadata of its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One image. Immutable; `with_pixels` makes a new one with other pixels."""

    pixels: Tensor
    """(3, H, W) float32 in [0, 1], RGB order, in the colour space of `icc_profile` (sRGB where None), on the CPU."""
    alpha: Tensor | None = None
    """(1, H, W) float32 in [0, 1], straight (not premultiplied); None if the image is opaque."""
    icc_profile: bytes | None = None
    exif: bytes | None = None
    """The EXIF block without its orientation, which reading has already applied."""
    bit_depth: int = 8
    """8 or 16, of the file that was read and of the one that is written."""
    greyscale: bool = False
    """Whether the file has one colour channel; the three in `pixels` are equal, and one is written."""
    quantization_relative_to_q50: float | None = None
    """Luminance quantization of the JPEG file relative to quality 50; None for other formats."""

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
        """A copy of the image with other pixels; alpha is resized if their size differs.

        `pixels`: (3, H, W) float32, clamped to [0, 1]; the caller must not write to them afterwards. `clamp`: False
        if they are known to be contiguous and in [0, 1], which saves the time to check.
        """
        from imaging.colour import clamped
        from imaging.resizing import resize

        alpha = self.alpha
        height, width = int(pixels.shape[-2]), int(pixels.shape[-1])
        if alpha is not None and (height, width) != (self.height, self.width):
            alpha = resize(alpha, height, width)
        pixels = clamped(pixels) if clamp else pixels
        return replace(self, pixels=pixels, alpha=alpha, quantization_relative_to_q50=None)
