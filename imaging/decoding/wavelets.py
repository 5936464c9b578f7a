"""JPEG XL and JPEG 2000 (imagecodecs)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

import imagecodecs
import numpy as np
import PIL.Image

from imaging.decoding.decoded import Decoded, Metadata, Samples, check_size
from imaging.decoding.exif import dpi_of, split_exif
from imaging.limits import Limits

JXL_HEADS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
JP2_HEADS = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, by the index in JPEG XL's SizeHeader."""
SIZ = b"\xff\x51"


def decode_jxl(data: bytes, name: str, limits: Limits) -> Decoded:
    """Decode a JPEG XL file, the first frame of an animation; libjxl applies the orientation."""
    check_size(*_jxl_size(data), name, limits)
    samples = np.asarray(imagecodecs.jpegxl_decode(data, index=0))
    samples = samples[:, :, None] if samples.ndim == 2 else samples
    check_size(samples.shape[1], samples.shape[0], name, limits)
    metadata = Metadata()
    for kind, content in jxl_boxes(data):
        if kind == b"Exif" and metadata.exif is None and len(content) > 4:
            exif = PIL.Image.Exif()
            with suppress(Exception):  # invalid EXIF is no reason to refuse a picture
                exif.load(b"Exif\0\0" + content[4 + struct.unpack(">I", content[:4])[0] :])
            metadata.dpi, metadata.exif = dpi_of(exif), split_exif(exif)[0]
        elif kind == b"xml " and metadata.xmp is None:
            metadata.xmp = content
    if samples.dtype not in (np.uint8, np.uint16):
        samples = samples.astype(np.float32)
    return Decoded(samples, 8 if samples.dtype == np.uint8 else 16, metadata)


def deep_jp2(data: bytes) -> Samples | None:
    """(H, W, channels) uint16 of a JPEG 2000 file of more than 8 bits; None for 8."""
    place = data.find(SIZ)
    bits = (data[place + 40] & 0x7F) + 1 if 0 <= place < len(data) - 40 else 8
    if bits <= 8 or bits > 16:
        return None
    array = np.atleast_3d(imagecodecs.jpeg2k_decode(data)).astype(np.uint32)
    most = (1 << bits) - 1
    samples: Samples = ((array * 65535 + most // 2) // most).astype(np.uint16)
    return samples


def _jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height, from the first bits of the codestream (ISO/IEC 18181-1, SizeHeader)."""
    codestream = data
    for kind, content in jxl_boxes(data):
        if kind in (b"jxlc", b"jxlp"):
            codestream = content[4 if kind == b"jxlp" else 0 :]
            break
    bits = _Bits(codestream[len(JXL_HEADS[0]) : 16])
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else _varied(bits)
    if ratio := bits.take(3):
        across, down = RATIOS[ratio - 1]
        return height * across // down, height
    return 8 * (bits.take(5) + 1) if small else _varied(bits), height


class _Bits:
    """Bits of a JPEG XL codestream, the least significant first."""

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        number = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return number


def _varied(bits: _Bits) -> int:
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


def jxl_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The boxes of a JPEG XL container; none for a bare codestream."""
    place = 0
    while data.startswith(JXL_HEADS[1]) and place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1 and place + 16 <= len(data):
            size, head = struct.unpack_from(">Q", data, place + 8)[0], 16
        end = place + size if size else len(data)
        if end < place + head:
            return
        yield kind, data[place + head : end]
        place = end
