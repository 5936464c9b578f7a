"""EXIF blocks as valid classic TIFF without tags of the storage layout; the orientation is kept separately."""

from __future__ import annotations

import io
from collections.abc import Mapping, MutableMapping
from typing import Any

import PIL.Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

ORIENTATION, EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD = 0x0112, 0x8769, 0x8825, 0xA005
COLOR_SPACE = 0xA001
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
UNITS = {2: 1.0, 3: 2.54}
"""Dots per inch of one dot per unit, by the value of the tag: inch or centimetre."""
MOST_DPI = 1e6
STRUCTURE_TAGS = (*range(254, 260), 262, 266, 273, *range(277, 280), 284, 317, 320, *range(322, 326), 338, 339)
"""TIFF tags of the storage layout."""
EMBEDDED_TAGS = (330, 347, 529, 530, 531, 532, 700, 33723, 34377, 34675, 33550, 33922, 34264, *range(34735, 34738))
"""TIFF tags of further images, JPEG tables, YCbCr, XMP, IPTC, Photoshop, the ICC profile and the map."""
BIG_TIFF = (b"+\0", b"\0+")


def split_exif(exif: PIL.Image.Exif) -> tuple[bytes | None, int]:
    """The EXIF block without orientation, resolution and layout, and the orientation.

    Tags that cannot be written are left out.
    """
    try:
        orientation = exif.get(ORIENTATION, 1)
    except Exception:  # values are parsed on access
        return None, 1
    for tag in (ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, *STRUCTURE_TAGS, *EMBEDDED_TAGS):
        exif.pop(tag, None)
    return _block(exif), orientation if isinstance(orientation, int) else 1


def exif_of_tiff(data: bytes, offset: int) -> bytes | None:
    """The EXIF block of the directory at an offset, classic or BigTIFF."""
    try:
        head = data[: 16 if data[2:4] in BIG_TIFF else 8]
        exif = PIL.Image.Exif()
        tags = _directory(data, head, offset)
        for number in (EXIF_IFD, GPS_IFD):
            if isinstance(place := tags.pop(number, None), int):
                tags[number] = place  # so that the directory counts as present
                exif.get_ifd(number).update(_with_index(_directory(data, head, place), data, head))
        exif.update(tags)
        return split_exif(exif)[0]
    except Exception:  # invalid EXIF is no reason to refuse a picture
        return None


def _with_index(tags: dict[int, Any], data: bytes, head: bytes) -> dict[int, Any]:
    """The tags with the interoperability directory in place of its offset."""
    if isinstance(place := tags.pop(INTEROPERABILITY_IFD, None), int):
        tags[INTEROPERABILITY_IFD] = _directory(data, head, place)
    return tags


def _directory(data: bytes, head: bytes, offset: int) -> dict[int, Any]:
    directory = ImageFileDirectory_v2(head)
    stream = io.BytesIO(data)
    stream.seek(offset)
    directory.load(stream)
    return dict(directory)


def dpi_of(exif: PIL.Image.Exif) -> tuple[float, float] | None:
    """Dots per inch from an EXIF block."""
    try:
        unit = UNITS[exif[RESOLUTION_UNIT]]
        across, down = unit * float(exif[X_RESOLUTION]), unit * float(exif[Y_RESOLUTION])
    except Exception:  # values are parsed on access
        return None
    return (across, down) if 0 < across < MOST_DPI and 0 < down < MOST_DPI else None


def is_adobe_rgb(exif: PIL.Image.Exif) -> bool:
    """Whether the camera declares Adobe RGB (DCF 2.0: uncalibrated, and index R03)."""
    details: Mapping[int, Any] = exif.get_ifd(EXIF_IFD)
    if details.get(COLOR_SPACE) == 2:  # not in the standard, but in use
        return True
    index = details.get(INTEROPERABILITY_IFD)
    interoperability = index.get(1) if isinstance(index, dict) else exif.get_ifd(INTEROPERABILITY_IFD).get(1)
    return details.get(COLOR_SPACE) == 0xFFFF and str(interoperability).strip("\0 ") == "R03"


class _Text(str):
    """The text of a tag. Pillow decodes it as Latin-1 and encodes it as ASCII; the bytes of the file are kept."""

    __slots__ = ()

    def encode(self, encoding: str = "latin-1", errors: str = "replace") -> bytes:
        """The bytes of the file, which may be UTF-8."""
        return super().encode("latin-1", "replace")


def with_its_bytes(tags: MutableMapping[int, Any]) -> None:
    """Make Pillow write the texts of a directory with the bytes that it has read."""
    for tag, value in list(tags.items()):
        if isinstance(value, str) and not value.isascii():
            tags[tag] = _Text(value)


def block_of(exif: PIL.Image.Exif) -> bytes:
    """The block as bytes. Raises whatever Pillow raises for values that cannot be written."""
    for tags in (exif, *(exif.get_ifd(tag) for tag in (EXIF_IFD, GPS_IFD) if tag in exif)):
        with_its_bytes(tags)
    return exif.tobytes()


def _block(exif: PIL.Image.Exif) -> bytes | None:
    """The block as bytes, without tags that cannot be written; None if it is empty."""
    try:
        block = block_of(exif) if len(exif) else b""
    except Exception:
        block = _writable(exif)
    return block if len(block) > 8 else None


def _writable(exif: PIL.Image.Exif) -> bytes:
    """The tags that can be written, tried one by one."""
    kept = PIL.Image.Exif()
    for tag in list(exif):
        try:
            kept[tag] = exif[tag]
            block_of(kept)
        except Exception:
            kept.pop(tag, None)
    return block_of(kept) if len(kept) else b""
