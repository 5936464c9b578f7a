"""The decoder of each format. Runs in the decoding process, which may be killed at any time."""

from __future__ import annotations

import io
import warnings
from typing import Any

import cv2
import numpy as np
import PIL.Image
from PIL import ImageFile, PngImagePlugin

from imaging.decoding.bmp import masked_bmp
from imaging.decoding.colour import adobe_rgb_profile, cmyk_to_srgb, usable_profile
from imaging.decoding.decoded import LEFT_OUT, Decoded, Metadata, Samples, check_size, check_unit_range
from imaging.decoding.exif import MOST_DPI, dpi_of, is_adobe_rgb, split_exif
from imaging.decoding.png import (
    MOST_TEXT_BYTES,
    deep_png,
    grey_step,
    in_png_colour,
    is_deep_png,
    readable_png,
)
from imaging.decoding.raw import decode_raw, is_raw
from imaging.decoding.wavelets import JP2_HEADS, JXL_HEADS, decode_jxl, deep_jp2
from imaging.errors import BrokenImage, ImageError, ImageTooLarge, NoSuchPage, NotAnImage, UnsupportedImage
from imaging.jpeg_table import quantization_relative_to_q50
from imaging.limits import Limits

PILLOW_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "AVIF", "GIF", "PPM", "JPEG2000")
"""Formats that Pillow recognises by content; MPO is a JPEG followed by a preview."""
TGA_SUFFIXES = (".tga", ".icb", ".vda", ".vst")
"""TGA files have no magic number."""
TIFF_HEADS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
KNOWN_HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF8", *TIFF_HEADS, *JP2_HEADS, *JXL_HEADS)
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
END_OF_IMAGE = b"\xff\xd9"
MORE_JPEG_DATA = b"\x5a\x33" * 64
IPTC_RESOURCE = 0x0404
MOST_METADATA_BYTES = {"exif": 1 << 20, "xmp": MOST_TEXT_BYTES, "iptc": MOST_TEXT_BYTES}
# Pillow refuses pictures with more; what is larger is left out before.
PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT_BYTES, 2 * MOST_TEXT_BYTES


def decode(data: bytes, name: str, suffix: str, limits: Limits, page: int | None) -> Decoded:
    """Decode an image. `name` is for messages, `suffix` tells formats without a magic number; pages count from 1.

    Raises `ImageError`. Any other exception of a decoder becomes `BrokenImage`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoded = _decode(data, name, suffix, limits, page)
        _leave_out_huge(decoded.metadata)
        return decoded
    except ImageError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise ImageTooLarge(f"{name} claims too many pixels: {error}", "shrink it first") from error
    except PIL.UnidentifiedImageError as error:
        raise _unidentified(data, name) from error
    except MemoryError as error:
        raise ImageTooLarge(f"{name} needs too much memory to be decoded", "shrink it first") from error
    except Exception as error:
        if data.startswith(KNOWN_HEADS) or data[4:8] == b"ftyp":
            raise BrokenImage(f"{name} is truncated or damaged: {error}", "get an intact copy") from error
        raise _unidentified(data, name) from error


def _leave_out_huge(metadata: Metadata) -> None:
    for kind, most in MOST_METADATA_BYTES.items():
        if len(getattr(metadata, kind) or b"") > most:
            setattr(metadata, kind, None)
            metadata.warnings.append(LEFT_OUT.format(f"{kind.upper()} metadata"))


def _decode(data: bytes, name: str, suffix: str, limits: Limits, page: int | None) -> Decoded:
    from imaging.decoding.heif import decode_heic, is_heic  # libheif and tifffile take a moment to load

    if (page or 1) > 1 and (is_raw(data, suffix) or data.startswith(JXL_HEADS)):
        raise NoSuchPage(f"{name} has one picture, not {page}", "leave the page out")
    if is_raw(data, suffix):
        if developed := decode_raw(data, name, limits):
            return developed
        if not data.startswith(TIFF_HEADS):
            raise BrokenImage(f"{name} is a camera raw file, but damaged or of an unknown camera", "develop it first")
    if data.startswith(TIFF_HEADS):
        from imaging.decoding.tiff import decode_tiff

        return decode_tiff(data, name, limits, page)
    if data.startswith(JXL_HEADS):
        return decode_jxl(data, name, limits)
    if is_heic(data):
        return decode_heic(data, name, limits, page)
    return _by_pillow(data, name, suffix, limits, page)


def _by_pillow(data: bytes, name: str, suffix: str, limits: Limits, page: int | None) -> Decoded:
    metadata = Metadata()
    data = readable_png(data, metadata.warnings)
    try:
        opened = _open(data, suffix)
    except OSError as error:
        if not data.startswith(b"BM") or isinstance(error, PIL.UnidentifiedImageError):
            raise
        return _odd_bmp(data, name, limits, error)
    with opened as picture:
        check_size(*picture.size, name, limits)
        _choose_frame(picture, name, page, metadata)
        samples = _samples(picture, data, name, metadata)
        exif = _exif(picture)
        metadata.quantization_relative_to_q50 = quantization_relative_to_q50(getattr(picture, "quantization", None))
        metadata.dpi = _dpi(picture, exif)
        metadata.xmp, metadata.iptc = _xmp(picture), _iptc(picture)
        if picture.mode not in ("CMYK", "LAB"):
            metadata.icc_profile = usable_profile(picture.info.get("icc_profile"), metadata.warnings)
        kind = picture.format
        if metadata.icc_profile is None and kind in ("JPEG", "MPO") and _says_adobe_rgb(exif):
            metadata.icc_profile = adobe_rgb_profile()
        metadata.exif, metadata.orientation = split_exif(exif)
    if kind == "PNG":
        samples = in_png_colour(samples, data, metadata)
    elif kind == "AVIF":
        from imaging.decoding.heif import in_avif_colour

        samples = in_avif_colour(samples, data, metadata)
    check_unit_range(samples, name)
    return Decoded(samples, 8 if samples.dtype == np.uint8 else 16, metadata)


def _odd_bmp(data: bytes, name: str, limits: Limits, error: OSError) -> Decoded:
    """A BMP whose layout Pillow does not support: decoded by its masks, otherwise by OpenCV."""
    width, height = (abs(int.from_bytes(data[at : at + 4], "little", signed=True)) for at in (18, 22))
    check_size(width, height, name, limits)
    if (masked := masked_bmp(data, width, height)) is not None:
        return Decoded(masked, 8 * masked.itemsize)
    array = _opencv(data)
    if array.shape[:2] != (height, width):
        raise UnsupportedImage(f"{name} is damaged, or a BMP that is not read: {error}", "save it as PNG") from error
    array = np.atleast_3d(array)
    return Decoded(np.ascontiguousarray(array[:, :, [2, 1, 0, 3][: array.shape[2]]]), 8)


def _open(data: bytes, suffix: str) -> PIL.Image.Image:
    """Open the header. Only known formats are tried, so that no external program is started."""
    PIL.Image.init()
    kinds = [kind for kind in PILLOW_FORMATS if kind in PIL.Image.ID]
    is_tga = suffix in TGA_SUFFIXES and not data.startswith(KNOWN_HEADS)
    return PIL.Image.open(io.BytesIO(data), formats=["TGA"] if is_tga else kinds)


def _choose_frame(picture: PIL.Image.Image, name: str, page: int | None, metadata: Metadata) -> None:
    if picture.format == "MPO" or not getattr(picture, "is_animated", False):
        if (page or 1) > 1:
            raise NoSuchPage(f"{name} has one picture, not {page}", "leave the page out")
        return
    if page is None:
        metadata.warnings.append(f"{name} is an animation: its first frame is taken")
        return
    try:
        picture.seek(page - 1)
    except EOFError as error:
        raise NoSuchPage(f"{name} has fewer than {page} frames", "give a smaller number") from error


def _samples(picture: PIL.Image.Image, data: bytes, name: str, metadata: Metadata) -> Samples:
    if picture.format == "PNG":
        with PIL.Image.open(io.BytesIO(data), formats=["PNG"]) as checked:
            checked.verify()
    deep = None
    if picture.format == "PNG" and is_deep_png(data) and not picture.tell():
        picture.load()
        deep = deep_png(data, picture, name)
    elif picture.format == "AVIF":
        from imaging.decoding.heif import deep_avif

        deep = deep_avif(data, picture.tell())
    elif data.startswith(JP2_HEADS):
        deep = deep_jp2(data)
    elif picture.format == "PPM" and picture.mode == "RGB" and b"\n65535\n" in data[:64]:
        deep = _opencv(data)[:, :, ::-1]
    if deep is not None:
        if deep.shape[:2] != picture.size[::-1]:
            raise BrokenImage(f"{name} is damaged: its sizes disagree", "get an intact copy")
        return deep
    tiles = getattr(picture, "tile", []) if picture.format == "GIF" and not picture.tell() else []
    drawn = tuple(tiles[0].extents) if tiles else None
    _load(picture, data, name, metadata)
    if drawn and drawn != (0, 0, *picture.size):
        return _transparent_outside(picture, drawn)
    if picture.format == "PNG" and picture.mode == "L" and isinstance(level := picture.info.get("transparency"), int):
        picture.info["transparency"] = level * grey_step(data)  # Pillow leaves it in the depth of the file
    return np.atleast_3d(np.asarray(_plain(picture)))


def _transparent_outside(picture: PIL.Image.Image, drawn: tuple[int, int, int, int]) -> Samples:
    """RGBA of a first frame that is smaller than its GIF. Browsers leave the rest transparent, Pillow fills it."""
    left, top, right, bottom = drawn
    shown = np.asarray(picture.convert("RGBA"))
    samples = np.zeros_like(shown)
    samples[top:bottom, left:right] = shown[top:bottom, left:right]
    return samples


def _opencv(data: bytes) -> Samples:
    array: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(array)


def _load(picture: PIL.Image.Image, data: bytes, name: str, metadata: Metadata) -> None:
    """Decode; a JPEG that lacks nothing but its end marker is complete."""
    try:
        picture.load()
    except OSError:
        if picture.format not in ("JPEG", "MPO") or not _is_complete_jpeg(data):
            raise
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            picture.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        metadata.warnings.append(f"{name} lacks its end marker; all of its pixels were decoded")


def _is_complete_jpeg(data: bytes) -> bool:
    """Whether all pixels are present: then the data appended after them makes no difference."""
    first, second = (_jpeg_samples(data + more + END_OF_IMAGE) for more in (b"", MORE_JPEG_DATA))
    return np.array_equal(first, second)


def _jpeg_samples(data: bytes) -> Samples:
    with PIL.Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
        return np.asarray(picture)


def _plain(picture: PIL.Image.Image) -> PIL.Image.Image | Samples:
    """L, LA, RGB or RGBA of 8 bit; grey of more bits as an array."""
    if picture.mode in ("L", "LA", "RGB", "RGBA"):
        return picture.convert(f"{picture.mode}A") if "transparency" in picture.info else picture
    if picture.mode == "1":
        grey = picture.convert("L")
        grey.info = picture.info
        return _plain(grey)
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode == "F":
        return np.asarray(picture).astype(np.float32)
    if picture.mode == "CMYK":
        return cmyk_to_srgb(np.asarray(picture), picture.info.get("icc_profile"))
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _exif(picture: PIL.Image.Image) -> PIL.Image.Exif:
    """The EXIF block; empty if it is invalid."""
    try:
        return picture.getexif()
    except Exception:
        return PIL.Image.Exif()


def _says_adobe_rgb(exif: PIL.Image.Exif) -> bool:
    try:
        return is_adobe_rgb(exif)
    except Exception:
        return False


def _dpi(picture: PIL.Image.Image, exif: PIL.Image.Exif) -> tuple[float, float] | None:
    """Dots per inch, from the format or else from EXIF."""
    try:
        across, down = (float(one) for one in picture.info["dpi"])
    except Exception:
        return dpi_of(exif)
    return (across, down) if 0 < across < MOST_DPI and 0 < down < MOST_DPI else None


def _xmp(picture: PIL.Image.Image) -> bytes | None:
    packet = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    if isinstance(packet, str):
        return packet.encode()
    return packet if isinstance(packet, bytes) else None


def _iptc(picture: PIL.Image.Image) -> bytes | None:
    resources = picture.info.get("photoshop")
    found = resources.get(IPTC_RESOURCE) if isinstance(resources, dict) else None
    return found if isinstance(found, bytes) else None


def _unidentified(data: bytes, name: str) -> ImageError:
    if data.startswith(KNOWN_HEADS) or data[8:12] == b"WEBP" or data[4:12] == b"ftypavif":
        return BrokenImage(
            f"{name} begins like an image, but is truncated, damaged or of an unsupported kind",
            "get an intact copy, or save it as PNG",
        )
    start = data[:64].lstrip().lower()
    kinds = [kind for head, kind in OTHER_HEADS.items() if start.startswith(head.lower())]
    if data[4:8] == b"ftyp" or data[8:12] == b"AVI ":
        kinds = ["a video"]
    what = kinds[0] if kinds else "not an image in a known format"
    return NotAnImage(f"{name} is {what}", "give a PNG, JPEG, WebP, TIFF, BMP, AVIF, HEIC, JPEG XL or JPEG 2000 file")
