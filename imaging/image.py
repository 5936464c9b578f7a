"""An image in memory: pixels, alpha, and the metadata of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One image. Immutable; `with_pixels` makes a new one with other pixels."""

    pixels: Tensor
    """(3, H, W) float32 in [0, 1], RGB order, in the colour space of `icc_profile` (sRGB where None, or
    where `network_space`), on the CPU."""
    alpha: Tensor | None = None
    """(1, H, W) float32 in [0, 1], straight (not premultiplied); None if the image is opaque."""
    icc_profile: bytes | None = None
    exif: bytes | None = None
    """The EXIF block without its orientation, which reading has already applied."""
    xmp: bytes | None = None
    iptc: bytes | None = None
    """IPTC-IIM records."""
    dpi: tuple[float, float] | None = None
    """Print resolution, across and down."""
    geotiff: Mapping[int, tuple[float, ...] | str] = field(default_factory=dict)
    """Values of the GeoTIFF tags, valid for the current size."""
    bit_depth: int = 8
    """8 or 16, of the file read and of the file written."""
    greyscale: bool = False
    """Whether the file has one colour channel; the three in `pixels` are equal, and one is written."""
    quantization_relative_to_q50: float | None = None
    """Luminance quantization of the JPEG file relative to quality 50; None for other formats."""
    network_space: bool = False
    """Whether pixels are in sRGB instead of the space of `icc_profile` (`imaging.network_space`)."""
    file_pixels: Tensor | None = None
    """Where `network_space`: the pixels that were read, in the space of `icc_profile`."""
    associated_alpha: bool = False
    """Whether the file had colours premultiplied by alpha; a TIFF of this image is written in the same way."""
    notes_history: bool = True
    """Whether the steps of a restoration are noted in `xmp`."""
    keeps_print_size: bool = False
    """Whether an enlargement raises the resolution instead of the size in print."""
    warnings: tuple[str, ...] = ()
    """Warnings from reading the file."""

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
        """A copy of the image with other pixels; alpha, GeoTIFF tags and resolution follow their size.

        `pixels`: (3, H, W) float32, clamped to [0, 1]; the caller must not write to them afterwards. `clamp`: False
        if they are known to be contiguous and in [0, 1], which saves the check.
        """
        from imaging.colour import clamped
        from imaging.geotiff import enlarged
        from imaging.resizing import resize

        pixels = clamped(pixels) if clamp else pixels
        other = replace(self, pixels=pixels, quantization_relative_to_q50=None)
        if (other.height, other.width) == (self.height, self.width):
            return other
        across, down = other.width / self.width, other.height / self.height
        return replace(
            other,
            alpha=None if self.alpha is None else resize(self.alpha, other.height, other.width),
            geotiff=enlarged(self.geotiff, across, down),
            dpi=(self.dpi[0] * across, self.dpi[1] * down) if self.keeps_print_size and self.dpi else self.dpi,
        )

    def with_note(self, action: str) -> Image:
        """The image with one more action in its XMP history."""
        from imaging.xmp import with_event

        return replace(self, xmp=with_event(self.xmp, action)) if self.notes_history else self

    def without_metadata(self) -> Image:
        """The image without EXIF, XMP, IPTC and GeoTIFF tags; the colour profile stays."""
        return replace(self, exif=None, xmp=None, iptc=None, geotiff={}, notes_history=False)
