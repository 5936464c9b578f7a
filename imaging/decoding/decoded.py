"""The output of a decoder: samples and metadata as they are in the file. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imaging.decoding.bounds import allow_pixels
from imaging.errors import ImageTooLarge, UnsupportedImage
from imaging.limits import MIN_SIDE, Limits

Samples: TypeAlias = NDArray[Any]
"""(H, W, 1..4) grey, grey and alpha, RGB or RGBA: uint8, uint16, or float32 in [0, 1]; alpha is straight."""


LEFT_OUT = "its {} is very large, and was left out"
"""The warning for metadata beyond what is read."""


@dataclass(slots=True)
class Metadata:
    """The metadata of a file."""

    orientation: int = 1
    """Orientation of the samples (TIFF 6.0, tag 274)."""
    associated_alpha: bool = False
    """Whether the file stores colours multiplied by alpha; the samples are straight."""
    icc_profile: bytes | None = None
    exif: bytes | None = None
    """The block as in a JPEG, with its `Exif` header, without orientation and tags of the storage layout."""
    xmp: bytes | None = None
    iptc: bytes | None = None
    """IPTC-IIM records."""
    dpi: tuple[float, float] | None = None
    geotiff: dict[int, tuple[float, ...] | str] = field(default_factory=dict)
    """Values of the tags that georeference the pixels."""
    quantization_relative_to_q50: float | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Decoded:
    """A decoded image."""

    samples: Samples
    bit_depth: int
    metadata: Metadata = field(default_factory=Metadata)


def check_size(width: int, height: int, name: str, limits: Limits) -> None:
    """Raise for a picture that is too large or too small; called as soon as the size is known."""
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"{name} has {width}x{height} pixels, more than {limits.max_pixels}", "shrink it or raise the limit"
        )
    if min(width, height) < MIN_SIDE:
        raise UnsupportedImage(
            f"{name} has {width}x{height} pixels", f"each side must have at least {MIN_SIDE} pixels"
        )
    allow_pixels(width * height)


def check_unit_range(samples: Samples, name: str) -> None:
    """Raise for floating-point samples that are not numbers in [0, 1]."""
    if samples.dtype != np.float32:
        return
    least, most = samples.min(), samples.max()  # NaN if any value is NaN
    if not (least >= 0 and most <= 1):
        raise UnsupportedImage(
            f"{name} holds floating-point values from {least:g} to {most:g}",
            "only values from 0 to 1 are supported; save it as 16-bit PNG or TIFF",
        )


def straight(samples: Samples) -> Samples:
    """Samples with associated alpha converted to straight alpha."""
    most = 1.0 if samples.dtype == np.float32 else float(np.iinfo(samples.dtype).max)
    alpha = samples[..., -1:].astype(np.float32)
    colours = samples[..., :-1].astype(np.float32)
    np.multiply(colours, most, out=colours)
    np.divide(colours, alpha, out=colours, where=alpha > 0)
    np.clip(colours, 0, most, out=colours)
    if samples.dtype != np.float32:
        np.rint(colours, out=colours)
    return np.concatenate([colours.astype(samples.dtype), samples[..., -1:]], axis=-1)
