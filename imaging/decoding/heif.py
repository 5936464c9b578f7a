"""HEIC (libheif), and what Pillow does not read from AVIF: more than 8 bits, and the colour space."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pillow_heif

from imaging.decoding.colour import by_code_points, usable_profile
from imaging.decoding.decoded import Decoded, Metadata, Samples, check_size
from imaging.decoding.exif import dpi_of, split_exif
from imaging.errors import NoSuchPage
from imaging.limits import Limits

UNSPECIFIED = 2
"""Code point of H.273."""
BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def is_heic(data: bytes) -> bool:
    """Whether data begins like a HEIC or another HEIF file, but not like AVIF."""
    return data[4:8] == b"ftyp" and data[8:12] in BRANDS and b"avif" not in data[8:64]


def decode_heic(data: bytes, name: str, limits: Limits, page: int | None) -> Decoded:
    """Decode the primary image of a HEIC file, or the image of number `page`; libheif applies the orientation."""
    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    if (page or 1) > len(file):
        raise NoSuchPage(f"{name} has {len(file)} images, not {page}", f"give one from 1 to {len(file)}")
    picture = file[file.primary_index if page is None else page - 1]
    check_size(*picture.size, name, limits)
    info: dict[str, Any] = picture.info
    exif = PIL.Image.Exif()
    with suppress(Exception):  # invalid EXIF is no reason to refuse a picture
        exif.load(info.get("exif") or b"")
    metadata = Metadata(dpi=dpi_of(exif), exif=split_exif(exif)[0], xmp=info.get("xmp"))
    if page is None and len(file) > 1:
        metadata.warnings.append(f"{name} has {len(file)} images: the primary one is taken")
    metadata.icc_profile = usable_profile(info.get("icc_profile"), metadata.warnings)
    samples = np.array(np.atleast_3d(np.asarray(picture)))
    if metadata.icc_profile is None and (nclx := info.get("nclx_profile")):
        points = int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
        samples, metadata.icc_profile = by_code_points(samples, *points, metadata.warnings)
    return Decoded(samples, 8 if samples.dtype == np.uint8 else 16, metadata)


def deep_avif(data: bytes, frame: int) -> Samples | None:
    """(H, W, channels) uint16 of a frame of an AVIF of 10 or 12 bit, as stored; None for 8 bit."""
    place = data.find(b"av1C")
    if place < 0 or not data[place + 6] & 0x40:
        return None
    most = 4095 if data[place + 6] & 0x20 else 1023
    array = np.atleast_3d(imagecodecs.avif_decode(data, index=frame)).astype(np.uint32)
    samples: Samples = ((array * 65535 + most // 2) // most).astype(np.uint16)
    return samples


def in_avif_colour(samples: Samples, data: bytes, metadata: Metadata) -> Samples:
    """Samples with the colour space of the `colr` box, if there is no ICC profile."""
    place = data.find(b"colrnclx")
    if metadata.icc_profile is None and place >= 0 and place + 12 <= len(data):
        primaries, transfer = struct.unpack_from(">HH", data, place + 8)
        if UNSPECIFIED not in (primaries, transfer):
            samples, metadata.icc_profile = by_code_points(samples, primaries, transfer, metadata.warnings)
    return samples
