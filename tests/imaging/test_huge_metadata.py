"""Texts, profiles and EXIF of many megabytes: the picture is read without them, and a warning says so."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from imaging.image import Image
from imaging.reading import read_image

Chunks = list[tuple[bytes, bytes]]
PIXELS = np.random.default_rng(1).integers(0, 65536, (24, 32, 3), dtype=np.uint16)
XMP = b"XML:com.adobe.xmp\0"
MIB = 1 << 20
TEXT = np.random.default_rng(2).integers(32, 127, 70 * MIB, dtype=np.uint8).tobytes()
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png(depth: int, before: Chunks, after: Chunks) -> bytes:
    values = PIXELS.astype(">u2") if depth == 16 else (PIXELS >> 8).astype(np.uint8)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    head = struct.pack(">IIBBBBB", 32, 24, depth, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), *before, (b"IDAT", rows), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


@cache
def packed(size: int) -> bytes:
    return zlib.compress(TEXT[:size], 1)


TEXTS: dict[str, Chunks] = {
    "text": [(b"tEXt", b"Comment\0" + TEXT[: 20 * MIB])],
    "texts": [(b"tEXt", b"Comment\0" + TEXT[: 9 * MIB])] * 2,
    "packed text": [(b"zTXt", b"Comment\0\0" + packed(17 * MIB))],
    "packed texts": [(b"zTXt", b"Comment\0\0" + packed(9 * MIB))] * 2,
    "packed bomb": [(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 * MIB), 1))] * 3,
    "international text": [(b"iTXt", b"Comment\0\0\0\0\0" + TEXT[: 20 * MIB])],
    "packed international text": [(b"iTXt", b"Comment\0\1\0\0\0" + packed(17 * MIB))],
    "XMP": [(b"iTXt", XMP + b"\0\0\0\0" + TEXT[: 17 * MIB])],
    "packed XMP": [(b"iTXt", XMP + b"\1\0\0\0" + packed(17 * MIB))],
}


def check_pixels(image: Image, depth: int) -> None:
    """The pixels are those of the file."""
    most = 65535 if depth == 16 else 255
    shown = (image.pixels.numpy().transpose(1, 2, 0) * most).round().astype(int)
    assert np.array_equal(shown, PIXELS if depth == 16 else PIXELS >> 8)


@pytest.mark.parametrize(("behind", "depth"), [(False, 8), (True, 8), (False, 16)])
@pytest.mark.parametrize("kind", TEXTS)
def test_a_png_is_read_without_huge_texts(kind: str, behind: bool, depth: int) -> None:
    image = read_image(png(depth, *(([], TEXTS[kind]) if behind else (TEXTS[kind], []))))
    check_pixels(image, depth)
    assert image.xmp is None
    assert any("very large, and was left out" in warning for warning in image.warnings)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "packed"])
def test_a_large_text_of_a_png_is_kept(is_packed: bool, depth: int) -> None:
    packet = b"<x:xmpmeta>" + TEXT[: 6 * MIB].replace(b"<", b" ") + b"</x:xmpmeta>"
    content = b"\1\0\0\0" + zlib.compress(packet, 1) if is_packed else b"\0\0\0\0" + packet
    image = read_image(png(depth, [(b"iTXt", XMP + content)], []))
    check_pixels(image, depth)
    assert image.xmp == packet
    assert not image.warnings


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("size", [5, 100])
def test_a_png_is_read_without_a_huge_profile(size: int, depth: int) -> None:
    profile = PROFILE + (bytes(size * MIB) if size > 70 else TEXT[: size * MIB])
    image = read_image(png(depth, [(b"iCCP", b"ICC\0\0" + zlib.compress(profile, 1))], []))
    check_pixels(image, depth)
    assert image.icc_profile is None
    assert image.warnings == ("its colour profile is very large, and was left out",)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("size", [2, 70])
def test_a_png_is_read_without_huge_exif(size: int, depth: int) -> None:
    image = read_image(png(depth, [(b"eXIf", exif(size).removeprefix(b"Exif\0\0"))], []))
    check_pixels(image, depth)
    assert image.exif is None
    assert any("EXIF" in warning and "left out" in warning for warning in image.warnings)


def exif(size: int) -> bytes:
    block = PIL.Image.Exif()
    block[315], block.get_ifd(0x8769)[0x9286] = "artist", TEXT[: size * MIB]
    return block.tobytes()


HUGE = [(kind, what, 20) for kind in ("WEBP", "AVIF", "TIFF") for what in ("profile", "XMP")]
HUGE += [(kind, "EXIF", size) for kind in ("WEBP", "AVIF") for size in (2, 66)]


@pytest.mark.parametrize(("kind", "what", "size"), HUGE)
def test_other_formats_are_read_without_huge_metadata(kind: str, what: str, size: int) -> None:
    huge: dict[str, dict[str, Any]] = {
        "profile": {"icc_profile": PROFILE + TEXT[: size * MIB]},
        "EXIF": {"exif": exif(size)},
        "XMP": {"xmp": TEXT[: size * MIB]} if kind != "TIFF" else {"tiffinfo": {700: TEXT[: size * MIB]}},
    }
    stream = io.BytesIO()
    PIL.Image.fromarray((PIXELS >> 8).astype(np.uint8)).save(stream, kind, **huge[what])
    image = read_image(stream.getvalue())
    assert (image.width, image.height) == (32, 24)
    assert (image.icc_profile, image.exif, image.xmp) == (None, None, None)
    assert any(what in warning and "very large, and was left out" in warning for warning in image.warnings)
