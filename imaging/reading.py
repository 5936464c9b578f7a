"""Reading of image files: the file is opened once, decoded in a separate process, and turned upright here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from imaging.convert import FloatArray, as_array, to_float
from imaging.decoding.process import Answer, decoding
from imaging.errors import ImageTooLarge, NotAnImage
from imaging.heavy_imports import import_heavy
from imaging.image import Image
from imaging.limits import Limits
from imaging.opening import read_bytes
from imaging.pixels import drop_pages, empty, memory_budget, row_chunks
from imaging.progress import ProgressToken
from imaging.text import printable

if TYPE_CHECKING:
    from imaging.decoding.decoded import Samples

_JPEG, _PPM = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), (".ppm", ".pgm", ".pbm", ".pnm")
_WAVELETS, _TGA = (".jxl", ".jp2", ".j2k", ".j2c", ".jpx", ".jpc", ".jpf"), (".tga", ".icb", ".vda", ".vst")
_RAW = (
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".nrw",
    ".arw",
    ".sr2",
    ".orf",
    ".rw2",
    ".raf",
    ".pef",
    ".srw",
    ".3fr",
    ".iiq",
)
_OTHERS = (".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif", ".hif", ".gif")
READABLE = frozenset((*_JPEG, *_PPM, *_WAVELETS, *_TGA, *_RAW, *_OTHERS))
"""Suffixes of the formats that are read, in lower case."""
XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>)\s*)[2-8]")
TURNED = (5, 6, 7, 8)
"""Orientations that swap rows and columns."""


def read_image(
    source: Path | bytes,
    limits: Limits | None = None,
    *,
    page: int | None = None,
    name: str = "",
    token: ProgressToken | None = None,
) -> Image:
    """Read an image from a file or from its bytes.

    Colours stay in the space of the file, with its ICC profile; if the file specifies its space in another way, a
    profile is made; CMYK, Lab, PQ and HLG are converted. The orientation is applied. `page`: page or frame, from 1;
    None: the first, with a warning in the image if there are more. `name`: file name, if `source` is bytes.
    Raises an `ImageError` that names the file: `NotAnImage`, `BrokenImage`, `UnsupportedImage` or `ImageTooLarge`;
    `ResourceError` as `memory_budget`; `Cancelled` by the token.
    """
    memory_budget()  # raises for an invalid setting before any work
    limits = limits or Limits()
    if isinstance(source, Path):
        name, data = str(source), read_bytes(source, limits)
    else:
        data = source
    suffix = Path(name).suffix.lower()
    name = printable(name) or "the image data"
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"{name} has more than {limits.max_bytes} bytes", "shrink it or raise the limit")
    if not data:
        raise NotAnImage(f"{name} is empty", "give a PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC file")
    with decoding(data, name, suffix, limits, page, token) as answer:
        return _image(answer)


def _image(answer: Answer) -> Image:
    """Convert the pixels as they arrive, one row chunk at a time, and turn them upright."""
    import_heavy("torch")
    import torch

    metadata = answer.metadata
    orientation = metadata.orientation
    sides = (answer.width, answer.height) if orientation in TURNED else (answer.height, answer.width)
    greyscale, has_alpha = answer.channels <= 2, answer.channels in (2, 4)
    pixels = empty((3, *sides))
    alpha = empty((1, *sides)) if has_alpha else None
    colours = 1 if greyscale else 3
    for rows in row_chunks(torch.empty(0, answer.height, answer.width)):
        values = _unit(answer.rows(rows.stop - rows.start))
        _as_stored(as_array(pixels), orientation)[rows] = values[:, :, :colours]
        drop_pages(pixels)
        if alpha is not None:
            _as_stored(as_array(alpha), orientation)[rows] = values[:, :, -1:]
            drop_pages(alpha)
    turned = orientation in TURNED and metadata.dpi is not None
    return Image(
        pixels=pixels,
        alpha=alpha,
        associated_alpha=metadata.associated_alpha,
        icc_profile=metadata.icc_profile,
        exif=metadata.exif,
        xmp=metadata.xmp and XMP_ORIENTATION.sub(rb"\g<1>1", metadata.xmp),
        iptc=metadata.iptc,
        dpi=metadata.dpi[::-1] if turned and metadata.dpi else metadata.dpi,
        geotiff=metadata.geotiff if orientation == 1 else {},
        bit_depth=answer.bit_depth,
        greyscale=greyscale,
        quantization_relative_to_q50=metadata.quantization_relative_to_q50,
        warnings=tuple(metadata.warnings),
    )


def _as_stored(upright: FloatArray, orientation: int) -> FloatArray:
    """A view of the upright image in the orientation of the file (EXIF and TIFF 6.0, tag 274)."""
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    return upright.transpose(1, 0, 2) if orientation in TURNED else upright


def _unit(samples: Samples) -> FloatArray:
    return samples if samples.dtype == "float32" else to_float(samples)


__all__ = ["READABLE", "Limits", "read_bytes", "read_image"]
