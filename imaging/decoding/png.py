"""Properties of a PNG that Pillow does not report: 16 bit, and the colour space of its chunks."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
import PIL.Image

from imaging.decoding.colour import SRGB_PRIMARIES, WHITE, by_code_points, rgb_profile
from imaging.decoding.decoded import Metadata, Samples
from imaging.errors import BrokenImage

SIGNATURE_BYTES = 8


def deep_png(data: bytes, picture: PIL.Image.Image, name: str) -> Samples:
    """(H, W, channels) uint16, with the transparent colour as alpha."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    array: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
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
    found, place = dict[bytes, bytes](), SIGNATURE_BYTES
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IDAT":
            break
        found.setdefault(kind, data[place + 8 : place + 8 + size])
        place += size + 12
    return found
