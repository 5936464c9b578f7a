"""Reading of image files. The header is checked before decoding, and each kind of bad file has its own error."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageCms

from imaging.convert import FloatArray, as_array, to_float
from imaging.errors import BrokenImage, ImageError, ImageTooLarge, NotAnImage, UnsupportedImage
from imaging.image import Image
from imaging.jpeg_table import quantization_relative_to_q50
from imaging.pixels import drop_pages, empty, memory_budget, row_chunks

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "AVIF", "HEIF", "GIF", "PPM")
"""Pillow's names of the formats that are read, if this Pillow has them; MPO is a JPEG followed by a preview."""
_JPEG, _PPM = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), (".ppm", ".pgm", ".pbm", ".pnm")
READABLE = frozenset((*_JPEG, *_PPM, ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif", ".gif"))
"""Suffixes of these formats, in lower case."""
KNOWN_HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"BM", b"GIF8")
OTHER_HEADS = {
    b"%PDF": "a PDF document",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML or SVG file",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1aE\xdf\xa3": "a video",
    b"8BPS": "a Photoshop file",
}
RAW_SUFFIXES = {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"}
MIN_SIDE = 8
ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)
"""Orientations that swap rows and columns."""
SAMPLE_FORMAT = 339
BITS_PER_SAMPLE = 258
STRUCTURE_TAGS = (*range(254, 260), 262, 266, 273, *range(277, 280), 284, 317, 320, *range(322, 326), 338, 339)
"""TIFF tags of the storage layout, which Pillow returns as EXIF."""
EMBEDDED_TAGS = (330, 347, 529, 530, 531, 532, 34675)
"""TIFF tags of further images, JPEG tables, YCbCr and the ICC profile."""
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    IndexError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""The exceptions that Pillow raises on corrupt data; any other is a bug in this package."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest file and image that are read."""

    max_bytes: int = 512 << 20
    max_pixels: int = 178_956_970
    """The default is Pillow's own limit."""


def read_image(source: Path | bytes, limits: Limits | None = None) -> Image:
    """Read an image from a file or from its bytes.

    Colours stay in the RGB space of the file, with its ICC profile; CMYK is converted to sRGB. EXIF orientation is
    applied. Raises an `ImageError` that names the file: `NotAnImage`, `BrokenImage`, `UnsupportedImage` (animated,
    several pages, below 8 pixels a side, camera raw) or `ImageTooLarge`; `ResourceError` as `memory_budget`.
    """
    memory_budget()  # raises for an invalid setting before any work
    limits = limits or Limits()
    name = str(source) if isinstance(source, Path) else "the image data"
    data = read_bytes(source, limits) if isinstance(source, Path) else source
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"{name} has more than {limits.max_bytes} bytes", "shrink it or raise the limit")
    if not data:
        raise NotAnImage(f"{name} is empty", "give a PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC file")
    with _opened(data, name) as picture:
        _examine(picture, name, limits)
        try:
            stored = _decode(picture, data, name)
            exif, orientation = _exif(picture)
        except DECODER_ERRORS as error:
            raise BrokenImage(f"{name} is truncated or damaged: {error}", "get an intact copy") from error
        profile = picture.info.get("icc_profile") if picture.mode not in ("CMYK", "LAB") else None
        image = _image(stored, orientation)
        steps = quantization_relative_to_q50(getattr(picture, "quantization", None))
    return replace(image, icc_profile=profile or None, exif=exif, quantization_relative_to_q50=steps)


def read_bytes(path: Path, limits: Limits) -> bytes:
    """Read the bytes of a file. Raises an `ImageError` if it is not a regular file, or is beyond the limits."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is a folder", "give one image file")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path} is not a regular file", "give one image file")
        if status.st_size > limits.max_bytes:
            raise ImageTooLarge(
                f"{path} has {status.st_size} bytes, more than {limits.max_bytes}", "shrink it or raise the limit"
            )
        if path.suffix.lower() in RAW_SUFFIXES:
            raise UnsupportedImage(f"{path} is a camera raw file", "develop it to TIFF, PNG or JPEG first")
        with path.open("rb") as stream:
            return stream.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist", "check the path") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {error}", "check the path and its permissions") from error


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[PIL.Image.Image]:
    """Open the header with Pillow. Only `FORMATS` are tried, so that no external program is started."""
    PIL.Image.init()
    known = [kind for kind in FORMATS if kind in PIL.Image.ID]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = PIL.Image.open(io.BytesIO(data), formats=known)
        except PIL.Image.DecompressionBombError as error:
            raise ImageTooLarge(f"{name} claims too many pixels: {error}", "shrink it first") from error
        except (PIL.UnidentifiedImageError, *DECODER_ERRORS) as error:
            raise _unidentified(data, name) from error
        with picture:
            yield picture


def _unidentified(data: bytes, name: str) -> ImageError:
    if data.startswith(KNOWN_HEADS) or data[8:12] == b"WEBP" or data[4:12] == b"ftypavif":
        return BrokenImage(
            f"{name} begins like an image, but is truncated, damaged or of an unsupported kind",
            "get an intact copy, or save it as PNG",
        )
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return UnsupportedImage(f"{name} is a HEIC picture", "install pillow-heif, or save it as JPEG")
    start = data[:64].lstrip().lower()
    kinds = [kind for head, kind in OTHER_HEADS.items() if start.startswith(head.lower())]
    if data[4:8] == b"ftyp" or data[8:12] == b"AVI ":
        kinds = ["a video"]
    what = kinds[0] if kinds else "not an image in a known format"
    return NotAnImage(f"{name} is {what}", "give a PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC file")


def _examine(picture: PIL.Image.Image, name: str, limits: Limits) -> None:
    """Raise for an image that cannot be restored, from the header alone."""
    width, height = picture.size
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"{name} has {width}x{height} pixels, more than {limits.max_pixels}", "shrink it or raise the limit"
        )
    if min(width, height) < MIN_SIDE:
        raise UnsupportedImage(
            f"{name} has {width}x{height} pixels", f"each side must have at least {MIN_SIDE} pixels"
        )
    try:
        frames = getattr(picture, "n_frames", 1)
    except DECODER_ERRORS as error:
        raise BrokenImage(f"{name} is truncated or damaged: {error}", "get an intact copy") from error
    if frames > 1 and picture.format != "MPO":
        kind = "pages" if picture.format == "TIFF" else "frames (an animation)"
        raise UnsupportedImage(f"{name} has {frames} {kind}", "save one of them as a separate image")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A decoded image in the orientation of its file."""

    height: int
    width: int
    channels: int
    bit_depth: int
    rows: Callable[[slice], FloatArray]
    """Returns these rows, (h, W, channels) in [0, 1], RGB order."""


def _decode(picture: PIL.Image.Image, data: bytes, name: str) -> _Stored:
    if picture.format == "PNG":
        with PIL.Image.open(io.BytesIO(data)) as checked:
            checked.verify()
    deep = _is_deep(picture)
    if not deep or picture.format == "PNG":
        picture.load()
    if deep:
        array = _deep_array(data, name)
        _require_unit_range(array, name)
        height, width, channels = array.shape
        order = [2, 1, 0, 3][:channels] if channels >= 3 else [*range(channels)]  # OpenCV's order is BGR
        depth = 8 if array.dtype == np.uint8 else 16
        return _Stored(height, width, channels, depth, lambda rows: _unit(array[rows])[:, :, order])
    width, height = picture.size

    def rows_of_8_bit(rows: slice) -> FloatArray:
        return to_float(np.atleast_3d(np.asarray(_plain(picture.crop((0, rows.start, width, rows.stop))))))

    return _Stored(height, width, rows_of_8_bit(slice(0, 1)).shape[2], 8, rows_of_8_bit)


def _is_deep(picture: PIL.Image.Image) -> bool:
    """Whether it has more than 8 bits per channel, which Pillow truncates in images of several channels."""
    if picture.format == "PNG":
        tiles: Any = getattr(picture, "tile", [])
        return any("16B" in str(tile.args) for tile in tiles) or picture.mode.startswith("I")
    if picture.format == "TIFF":
        tags: Any = getattr(picture, "tag_v2", {})
        bits, kinds = tags.get(BITS_PER_SAMPLE, (8,)), tags.get(SAMPLE_FORMAT, (1,))
        return max(np.atleast_1d(bits)) > 8 or 3 in np.atleast_1d(kinds)
    return picture.mode.startswith(("I", "F"))


def _deep_array(data: bytes, name: str) -> NDArray[Any]:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # OpenCV prints warnings to the console
    array: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    cv2.utils.logging.setLogLevel(level)
    if array is None:
        raise BrokenImage(f"{name} is truncated, damaged or of an unsupported kind", "save it as 16-bit PNG")
    planes: NDArray[Any] = np.atleast_3d(array)
    return planes


def _plain(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Convert to a mode with 8 bits per channel: L, LA, RGB or RGBA."""
    if picture.mode in ("L", "LA", "RGB", "RGBA"):
        return picture.convert(f"{picture.mode}A") if "transparency" in picture.info else picture
    if picture.mode == "1":
        return picture.convert("L")
    if picture.mode == "CMYK" and (icc := picture.info.get("icc_profile")):
        try:
            converted = ImageCms.profileToProfile(
                picture, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):
            converted = None
        return converted or picture.convert("RGB")
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _exif(picture: PIL.Image.Image) -> tuple[bytes | None, int]:
    """The EXIF block without orientation, and the orientation; invalid EXIF is ignored."""
    try:
        exif = picture.getexif()
        orientation = exif.pop(ORIENTATION, 1)
        for tag in (*STRUCTURE_TAGS, *EMBEDDED_TAGS):
            exif.pop(tag, None)
        kept = exif.tobytes() if len(exif) else None
    except DECODER_ERRORS:
        return None, 1
    return kept, orientation if isinstance(orientation, int) else 1


def _image(stored: _Stored, orientation: int) -> Image:
    """Apply the orientation and convert the pixels, one row chunk at a time."""
    import torch

    sides = (stored.width, stored.height) if orientation in TURNED else (stored.height, stored.width)
    greyscale, has_alpha = stored.channels <= 2, stored.channels in (2, 4)
    pixels = empty((3, *sides))
    alpha = empty((1, *sides)) if has_alpha else None
    colours = 1 if greyscale else 3
    for rows in row_chunks(torch.empty(0, stored.height, stored.width)):
        values = stored.rows(rows)
        _as_stored(as_array(pixels), orientation)[rows] = values[:, :, :colours]
        drop_pages(pixels)
        if alpha is not None:
            _as_stored(as_array(alpha), orientation)[rows] = values[:, :, -1:]
            drop_pages(alpha)
    return Image(pixels=pixels, alpha=alpha, bit_depth=stored.bit_depth, greyscale=greyscale)


def _as_stored(upright: FloatArray, orientation: int) -> FloatArray:
    """A view of the upright image in the orientation of the file (EXIF and TIFF 6.0, tag 274)."""
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    return upright.transpose(1, 0, 2) if orientation in TURNED else upright


def _unit(array: NDArray[Any]) -> FloatArray:
    return to_float(array) if array.dtype in (np.uint8, np.uint16) else array.astype(np.float32)


def _require_unit_range(array: NDArray[Any], name: str) -> None:
    if array.dtype in (np.uint8, np.uint16):
        return
    least, most = array.min(), array.max()  # NaN if any value is NaN
    if not (least >= 0 and most <= 1):
        raise UnsupportedImage(
            f"{name} holds {array.dtype} values from {least:g} to {most:g}",
            "only values from 0 to 1 are supported; save it as 16-bit PNG or TIFF",
        )
