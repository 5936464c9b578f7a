"""TIFF: one parser (tifffile) for header and pixels, every compression (imagecodecs), colours by the tags.

Kinds of up to 8 bit that tifffile does not decode (compressed YCbCr, old-style JPEG, ThunderScan), or of which it
drops rows without an error (fax), are left to Pillow.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import PIL.Image
import tifffile

from imaging.decoding.colour import cmyk_to_srgb, lab_to_srgb, usable_profile
from imaging.decoding.decoded import Decoded, Metadata, Samples, check_size, check_unit_range, straight
from imaging.decoding.exif import MOST_DPI, exif_of_tiff
from imaging.decoding.ycbcr import rgb_of_ycbcr
from imaging.errors import BrokenImage, ImageTooLarge, NoSuchPage, UnsupportedImage
from imaging.limits import Limits
from imaging.text import printable

MOST_PAGES = 10_000
MOST_SAMPLES = 16
"""Maximum samples per pixel."""
GEOTIFF_TAGS = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
"""GeoTIFF 1.1, and GDAL's metadata and no-data value."""
MOST_GEOTIFF_BYTES = 1 << 19
"""Maximum of their JSON, which is in the first line of the answer to the parent process."""
XMP, IPTC, ICC = 700, 33723, 34675
REDUCED, MASK = 1, 4
"""Bits of tag 254 (NewSubfileType)."""
MINISWHITE, MINISBLACK, RGB, PALETTE, TRANSPARENCY_MASK, SEPARATED, YCBCR, CIELAB, ICCLAB = 0, 1, 2, 3, 4, 5, 6, 8, 9
UNCOMPRESSED = 1
JPEG_COMPRESSIONS = (7, 34892)
"""Compressions whose decoders return RGB for YCbCr."""
FAX_COMPRESSIONS = (2, 3, 4)
"""imagecodecs returns 235 of the 3369 rows of libtiff's testfax4.tiff, the rest white, without an error."""


def decode_tiff(data: bytes, name: str, limits: Limits, page: int | None) -> Decoded:
    """Decode one page of a TIFF."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            chosen, count = _page(file, name, page)
            if chosen.imagedepth != 1:
                raise UnsupportedImage(f"{name} is a volume of {chosen.imagedepth} slices", "save one slice")
            check_size(chosen.imagewidth, chosen.imagelength, name, limits)
            metadata = _metadata(chosen, data)
            samples = _samples(chosen, data, name, limits, metadata.warnings)
    except tifffile.TiffFileError as error:
        raise BrokenImage(f"{name} is truncated or damaged: {error}", "get an intact copy") from error
    if page is None and count > 1:
        metadata.warnings.append(f"{name} has {count} pages: the first is taken")
    decoded = _in_colour(samples, chosen, metadata, name)
    check_unit_range(decoded.samples, name)
    return decoded


def _page(file: tifffile.TiffFile, name: str, page: int | None) -> tuple[Any, int]:
    """The requested page, and the number of pages; reduced images and masks do not count."""
    total = len(file.pages)
    if total > MOST_PAGES:
        raise UnsupportedImage(f"{name} has {total} pages", f"files of up to {MOST_PAGES} pages are read")
    pages = [found for index in range(total) if _is_page(found := file.pages[index])] or [file.pages[0]]
    wanted = page or 1
    if wanted > len(pages):
        raise NoSuchPage(f"{name} has {len(pages)} pages, not {wanted}", f"give a page from 1 to {len(pages)}")
    return pages[wanted - 1], len(pages)


def _is_page(page: Any) -> bool:
    if not {256, 257} <= set(page.tags.keys()):
        return False
    kind = int(page.tags.valueof(254, 0) or 0)
    return not kind & (REDUCED | MASK) and int(page.tags.valueof(255, 0) or 0) != 2


def _samples(page: Any, data: bytes, name: str, limits: Limits, warnings: list[str]) -> Samples:
    """(H, W, samples per pixel) as they are stored. Recoverable damage is added to `warnings`."""
    if page.samplesperpixel > MOST_SAMPLES:
        raise UnsupportedImage(f"{name} has {page.samplesperpixel} samples per pixel", "only grey and RGB are read")
    _check_segments(page, data, name, limits)
    try:
        if page.photometric == YCBCR and page.compression == UNCOMPRESSED:
            return rgb_of_ycbcr(page, data)
        if page.photometric == YCBCR and page.compression not in JPEG_COMPRESSIONS:
            raise NotImplementedError("subsampled YCbCr")
        if page.compression in FAX_COMPRESSIONS:
            raise NotImplementedError("fax")
        array: Any = page.asarray(maxworkers=1)
    except MemoryError:
        raise
    except Exception as error:
        with _complaints() as complaints:
            stored = _by_pillow(page, data, name, error)
        warnings += [f"{name} is damaged: {printable(complaint)}" for complaint in complaints[:1]]
        return stored
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        array = np.moveaxis(array.reshape(page.samplesperpixel, page.imagelength, page.imagewidth), 0, 2)
    samples: Samples = array.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
    return samples


def _check_segments(page: Any, data: bytes, name: str, limits: Limits) -> None:
    """Raise if strips or tiles lie outside the file, or are larger than the picture may be."""
    if not page.dataoffsets or len(page.dataoffsets) != len(page.databytecounts):
        raise BrokenImage(f"{name} is damaged: it has no pixels", "get an intact copy")
    ends = (start + size for start, size in zip(page.dataoffsets, page.databytecounts, strict=True))
    if max(ends) > len(data) or len(page.dataoffsets) < np.prod(page.chunked):
        raise BrokenImage(f"{name} is truncated", "get an intact copy")
    if page.is_tiled and page.tilewidth * page.tilelength > 4 * max(limits.max_pixels, 1 << 20):
        raise ImageTooLarge(f"{name} has tiles of {page.tilewidth}x{page.tilelength} pixels", "save it again")


def _by_pillow(page: Any, data: bytes, name: str, error: Exception) -> Samples:
    """Stored samples of up to 8 bit, or RGB for YCbCr, by Pillow's libtiff."""
    broken = BrokenImage(f"{name} is truncated, damaged or of an unsupported kind: {error}", "save it as PNG")
    if np.max(page.bitspersample) > 8:
        raise broken from error
    with PIL.Image.open(io.BytesIO(data), formats=["TIFF"]) as picture:
        picture.seek(page.index)
        if picture.size != (page.imagewidth, page.imagelength):
            raise broken from error
        array: Any = np.atleast_3d(np.asarray(picture if page.photometric != YCBCR else picture.convert("RGB")))
    if page.photometric == MINISWHITE:  # back to the stored values
        array = ~array
    most = (1 << int(np.max(page.bitspersample))) - 1
    stored: Samples = array // (255 // most) if page.photometric in (MINISWHITE, MINISBLACK) and most > 1 else array
    return stored


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """The lines that libtiff writes to stderr inside the block: errors from which it recovers, as in faxes."""
    found: list[str] = []
    before, (read, write) = os.dup(2), os.pipe()
    os.set_blocking(write, False)  # lines that do not fit are lost
    os.dup2(write, 2)
    try:
        yield found
    finally:
        os.dup2(before, 2)
        os.close(write)
        os.close(before)
        with open(read, "rb") as stream:
            found += stream.read().decode("utf-8", "replace").splitlines()


def _in_colour(samples: Samples, page: Any, metadata: Metadata, name: str) -> Decoded:
    """Grey or RGB, with straight alpha if the page has alpha."""
    kind, bits = page.photometric, int(np.max(page.bitspersample))
    if kind == PALETTE:
        samples, bits = _from_palette(samples, page, name), 8
    else:
        samples, bits = _scaled(samples, bits, page, name)
    colours = {SEPARATED: 4, CIELAB: 3, ICCLAB: 3, RGB: 3, YCBCR: 3, PALETTE: 3}.get(kind, 1)
    if samples.shape[2] < colours or (colours == 1 and samples.shape[2] > 2) or kind > ICCLAB:
        raise UnsupportedImage(
            f"{name} has {samples.shape[2]} samples per pixel of photometric kind {int(kind)}",
            "only grey, RGB, CMYK and Lab are read; save it as RGB",
        )
    alpha, associated = _alpha(samples, page.extrasamples, colours)
    samples = samples[:, :, :colours]
    if kind in (MINISWHITE, TRANSPARENCY_MASK):
        samples = _most(samples) - samples if kind == MINISWHITE else samples
    elif kind == SEPARATED:
        samples = cmyk_to_srgb(samples, metadata.icc_profile)
        metadata.icc_profile = None
    elif kind in (CIELAB, ICCLAB):
        samples = lab_to_srgb(samples, signed=kind == CIELAB)
        metadata.icc_profile = None
    if alpha is not None:
        samples = np.concatenate([samples, alpha.astype(samples.dtype)], axis=2)
        samples = straight(samples) if associated else samples
        metadata.associated_alpha = associated
    return Decoded(np.ascontiguousarray(samples), 8 if bits <= 8 else 16, metadata)


def _alpha(samples: Samples, kinds: Sequence[int], colours: int) -> tuple[Samples | None, bool]:
    """The alpha channel, and whether colours are associated with it. Samples of unknown meaning are left out."""
    for index, kind in enumerate(kinds):
        if int(kind) in (1, 2) and colours + index < samples.shape[2]:
            return samples[:, :, colours + index : colours + index + 1], int(kind) == 1
    return None, False


def _scaled(samples: Samples, bits: int, page: Any, name: str) -> tuple[Samples, int]:
    """Samples of any number type as uint8, uint16 or float32, and their bits."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32), 16
    if samples.dtype == bool:
        return samples.astype(np.uint8) * np.uint8(255), 8
    if samples.dtype.kind != "u" and page.photometric not in (CIELAB, ICCLAB):
        raise UnsupportedImage(f"{name} holds {samples.dtype} values", "save it as 16-bit PNG or TIFF")
    if bits in (8, 16) or samples.dtype.kind == "i":
        unsigned = np.uint8 if samples.dtype.itemsize == 1 else np.uint16
        return samples.view(unsigned) if samples.dtype.itemsize <= 2 else samples, bits
    if bits < 8:
        return (samples.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8), 8
    if bits < 16:
        most = (1 << bits) - 1
        return ((samples.astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16), 16
    return (samples / np.float64((1 << bits) - 1)).astype(np.float32), 16


def _from_palette(samples: Samples, page: Any, name: str) -> Samples:
    colours = page.colormap
    if colours is None:
        raise BrokenImage(f"{name} is damaged: it has no palette", "get an intact copy")
    table = np.asarray(colours).T
    table = (table >> 8 if table.max() > 255 else table).astype(np.uint8)  # some writers store 8 bits
    if samples[:, :, 0].max() >= len(table):
        raise BrokenImage(f"{name} is damaged: it uses colours outside its palette", "get an intact copy")
    coloured: Samples = table[samples[:, :, 0].astype(np.uint16)]  # boolean in files of 1 bit
    return np.concatenate([coloured, samples[:, :, 1:].astype(np.uint8)], axis=2)


def _most(samples: Samples) -> Any:
    return samples.dtype.type(1) if samples.dtype == np.float32 else np.iinfo(samples.dtype).max


def _metadata(page: Any, data: bytes) -> Metadata:
    metadata = Metadata(orientation=_number(page, 274, 1))
    metadata.icc_profile = usable_profile(_bytes(page, ICC), metadata.warnings)
    metadata.xmp, metadata.iptc = _bytes(page, XMP), _bytes(page, IPTC)
    metadata.exif = exif_of_tiff(data, page.offset)
    metadata.geotiff = _geotiff(page, metadata.warnings)
    metadata.dpi = _dpi(page)
    return metadata


def _bytes(page: Any, tag: int) -> bytes | None:
    value = page.tags.valueof(tag)
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, tuple) and all(
        isinstance(one, int) and 0 <= one < 1 << 32 for one in value
    ):  # IPTC is often declared as LONG
        return np.array(value, "<u4" if page.parent.byteorder == "<" else ">u4").tobytes()
    return bytes(value) if isinstance(value, (bytes, np.ndarray)) and len(value) else None


def _number(page: Any, tag: int, default: int) -> int:
    value = page.tags.valueof(tag, default)
    return int(value) if isinstance(value, int) else default


def _dpi(page: Any) -> tuple[float, float] | None:
    unit = {2: 1.0, 3: 2.54}.get(_number(page, 296, 2))
    both = [page.tags.valueof(tag) for tag in (282, 283)]
    if unit is None or not all(isinstance(one, tuple) and len(one) == 2 and one[0] and one[1] for one in both):
        return None
    across, down = (unit * one[0] / one[1] for one in both)
    return (across, down) if 0 < across < MOST_DPI and 0 < down < MOST_DPI else None


def _geotiff(page: Any, warnings: list[str]) -> dict[int, tuple[float, ...] | str]:
    found: dict[int, tuple[float, ...] | str] = {}
    for tag in GEOTIFF_TAGS:
        value = page.tags.valueof(tag)
        if value is None or not {33550, 34264} & set(page.tags.keys()):
            continue
        if isinstance(value, (str, bytes)):
            found[tag] = value if isinstance(value, str) else value.decode("latin-1")
        elif isinstance(value, (tuple, list, np.ndarray)):
            found[tag] = tuple(float(one) for one in value)
    if len(json.dumps(list(found.items()))) < MOST_GEOTIFF_BYTES:
        return found
    warnings.append("its map coordinates are very many, and were left out")
    return {}
