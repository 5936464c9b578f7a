"""Properties of a PNG that Pillow does not report: 16 bit, and the colour space of its chunks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import PIL.Image

from imaging.decoding.colour import MOST_PROFILE_BYTES, SRGB_PRIMARIES, WHITE, by_code_points, rgb_profile
from imaging.decoding.decoded import LEFT_OUT, Metadata, Samples
from imaging.errors import BrokenImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_TEXT_BYTES = 16 << 20
"""The largest text that is read, unpacked; all texts of a picture may have as much."""
LIBPNG_BYTES = 1 << 20
"""Chunks beside the pixels that are larger are not passed to libpng, which refuses those of 8 megabytes."""
SIZES = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"acTL": 8}
"""Bytes of chunks whose size is fixed."""
TEXT_KINDS = (b"tEXt", b"zTXt", b"iTXt")
XMP_KEY = b"XML:com.adobe.xmp"


def deep_png(data: bytes, picture: PIL.Image.Image, name: str) -> Samples:
    """(H, W, channels) uint16, with the transparent colour as alpha."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    pixels = _without(data, [one for one in _places(data) if len(one) > LIBPNG_BYTES and not one.is_critical])
    array: Any = cv2.imdecode(np.frombuffer(pixels, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None or array.dtype != np.uint16 or array.shape[:2] != picture.size[::-1]:
        raise BrokenImage(f"{name} is truncated, damaged or of an unsupported kind", "save it again")
    array = np.atleast_3d(array)
    if array.shape[2] >= 3:
        array = array[:, :, [2, 1, 0, 3][: array.shape[2]]]  # OpenCV's order is BGR
    transparent = chunks(data).get(b"tRNS")
    if transparent and array.shape[2] in (1, 3) and len(transparent) == 2 * array.shape[2]:
        colour = np.frombuffer(transparent, ">u2").astype(np.uint16)
        alpha = np.where((array == colour).all(axis=2, keepdims=True), 0, 65535).astype(np.uint16)
        array = np.concatenate([array, alpha], axis=2)
    samples: Samples = array
    return samples


def is_deep_png(data: bytes) -> bool:
    """Whether a PNG has 16 bits per channel."""
    return data[24:25] == b"\x10"


def grey_step(data: bytes) -> int:
    """The difference, in 8 bits, between adjacent grey levels of a PNG of up to 8 bits."""
    return 255 // ((1 << data[24]) - 1)


def in_png_colour(samples: Samples, data: bytes, metadata: Metadata) -> Samples:
    """Samples with the colour space of cICP, iCCP, sRGB or gAMA and cHRM, in this order (PNG, third edition)."""
    found = chunks(data)
    if len(code := found.get(b"cICP", b"")) == 4 and code[2] == 0:
        samples, metadata.icc_profile = by_code_points(samples, code[0], code[1], metadata.warnings)
    elif metadata.icc_profile is None and b"sRGB" not in found and b"iCCP" not in found:
        metadata.icc_profile = _by_gamma(found)
    return samples


def _by_gamma(found: dict[bytes, bytes]) -> bytes | None:
    gamma, chroma = found.get(b"gAMA", b""), found.get(b"cHRM", b"")
    if len(gamma) != 4 and len(chroma) != 32:
        return None
    white, primaries = WHITE, SRGB_PRIMARIES
    if len(chroma) == 32:
        numbers = [number / 100_000 for number in struct.unpack(">8I", chroma)]
        if all(number < 1 for number in numbers):
            white, primaries = (numbers[0], numbers[1]), tuple(numbers[2:])
    value = struct.unpack(">I", gamma)[0] / 100_000 if len(gamma) == 4 else 0.0
    return rgb_profile(primaries, white, 1 / value if 0.05 < value < 5 else None)


def chunks(data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each kind before the pixels of a PNG."""
    found = dict[bytes, bytes]()
    for place in _places(data):
        if place.kind == b"IDAT":
            break
        found.setdefault(place.kind, data[place.content])
    return found


def readable_png(data: bytes, warnings: list[str]) -> bytes:
    """A PNG without texts and profiles that are larger than is read, and without malformed chunks that its pixels do
    not need; each with a warning. Other data is returned as it is.
    """
    if not data.startswith(SIGNATURE):
        return data
    left_out, left = list[_Place](), MOST_TEXT_BYTES
    for place in _places(data):
        if _is_malformed(place, data):
            left_out.append(place)
            damaged = f"its chunk {place.kind.decode('ascii')} is damaged, and was left out"
            warnings += [damaged] if damaged not in warnings else []
            continue
        if place.kind == b"iCCP":
            most, name = MOST_PROFILE_BYTES, "colour profile"
        elif place.kind in TEXT_KINDS:
            most = left
            is_xmp = data.startswith(XMP_KEY, place.content.start)
            name = "XMP metadata" if is_xmp else "text"
        else:
            continue
        size = _unpacked_size(place, data, most)
        if size > most:
            left_out.append(place)
            if (warning := LEFT_OUT.format(name)) not in warnings:
                warnings.append(warning)
        elif place.kind != b"iCCP":
            left -= size
    return _without(data, left_out)


def _is_malformed(place: _Place, data: bytes) -> bool:
    """Whether a chunk beside the pixels is one for which readers refuse the picture."""
    if place.kind in SIZES:
        return len(place) != SIZES[place.kind]
    if place.kind not in (b"zTXt", b"iCCP"):
        return False
    separator = data.find(b"\0", place.content.start, place.content.stop)
    method = data[separator + 1 : min(separator + 2, place.content.stop)] if separator >= 0 else b""
    return method != b"\0" and (place.kind == b"iCCP" or method != b"")


@dataclass(frozen=True, slots=True)
class _Place:
    """A chunk in a PNG."""

    kind: bytes
    content: slice

    def __len__(self) -> int:
        return int(self.content.stop - self.content.start)

    @property
    def is_critical(self) -> bool:
        """Whether the pixels cannot be decoded without it."""
        return self.kind[:1].isupper()


def _places(data: bytes) -> Iterator[_Place]:
    place = len(SIGNATURE)
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        yield _Place(kind, slice(place + 8, place + 8 + size))
        place += size + 12


def _without(data: bytes, left_out: Sequence[_Place]) -> bytes:
    """The data without these chunks."""
    if not left_out:
        return data
    starts = [0, *(one.content.stop + 4 for one in left_out)]
    stops = [*(one.content.start - 8 for one in left_out), len(data)]
    return b"".join(data[start:stop] for start, stop in zip(starts, stops, strict=True))


def _unpacked_size(place: _Place, data: bytes, most: int) -> int:
    """The size of a text or profile; any number above `most` if it is larger."""
    content = data[place.content.start : min(place.content.stop, place.content.start + most + 1)]
    _, _, rest = content.partition(b"\0")
    if place.kind == b"tEXt" or (place.kind == b"iTXt" and rest[:1] == b"\0") or len(place) > most:
        return len(place)
    packed = rest[2:].split(b"\0", 2)[-1] if place.kind == b"iTXt" else rest[1:]
    try:
        return len(zlib.decompressobj().decompress(packed, most + 1))
    except zlib.error:  # the reader leaves it out
        return 0
