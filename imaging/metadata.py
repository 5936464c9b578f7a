"""Metadata for writing: EXIF that matches the picture, and a JSON form for run folders."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import PIL.Image

from imaging.decoding.exif import block_of
from imaging.image import Image

EXIF_IFD = 0x8769
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, INCH = 282, 283, 296, 2
PIXEL_WIDTH, PIXEL_HEIGHT = 0xA002, 0xA003
FLAGS = ("associated_alpha", "notes_history", "keeps_print_size")


def written_exif(image: Image) -> bytes | None:
    """The image's EXIF block with its current size and resolution; None if it would be empty."""
    if not image.exif and not image.dpi:
        return None
    exif = read_exif(image.exif)
    details = exif.get_ifd(EXIF_IFD) if EXIF_IFD in exif else {}
    for tag, side in ((PIXEL_WIDTH, image.width), (PIXEL_HEIGHT, image.height)):
        if tag in details:
            details[tag] = side
    if image.dpi:
        exif[X_RESOLUTION], exif[Y_RESOLUTION] = image.dpi
        exif[RESOLUTION_UNIT] = INCH
    try:
        return block_of(exif)
    except (ValueError, TypeError, OSError, KeyError, struct.error):  # a value that cannot be written back
        return image.exif


def read_exif(block: bytes | None) -> PIL.Image.Exif:
    """A parsed EXIF block; empty if `block` is None or invalid."""
    exif = PIL.Image.Exif()
    try:
        exif.load(block or b"")
    except (SyntaxError, OSError, ValueError, struct.error):
        return PIL.Image.Exif()
    return exif


def metadata_to_json(image: Image) -> bytes:
    """EXIF, XMP, IPTC, resolution, GeoTIFF tags and flags of an image."""
    blobs = {name: base64.b64encode(getattr(image, name) or b"").decode() for name in ("exif", "xmp", "iptc")}
    flags = {name: getattr(image, name) for name in FLAGS}
    return json.dumps(blobs | flags | {"dpi": image.dpi, "geotiff": list(image.geotiff.items())}).encode()


def metadata_from_json(data: bytes) -> dict[str, Any]:
    """Fields of `Image`. Raises `ValueError` or `KeyError` for data not from `metadata_to_json`."""
    fields = json.loads(data)
    blobs = {name: base64.b64decode(fields[name]) or None for name in ("exif", "xmp", "iptc")}
    geotiff = {tag: value if isinstance(value, str) else tuple(value) for tag, value in fields["geotiff"]}
    flags = {name: bool(fields[name]) for name in FLAGS}
    return blobs | flags | {"dpi": tuple(fields["dpi"]) if fields["dpi"] else None, "geotiff": geotiff}
