"""Checks whether a result can be written, before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

from imaging.errors import OutputError, OutputExists
from imaging.text import printable

FORMAT_OF = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".jxl": "JXL",
}
LONGEST_SIDE = {"WEBP": 16_383, "AVIF": 32_768, "JPEG": 65_500}
"""Pixels of a side that a format, its encoder or its usual decoders can hold; the others hold any result."""
BMP_PIXEL_BYTES, MAX_BMP_BYTES = 3, (1 << 32) - (1 << 10)
MAX_NAME_BYTES = 255
"""Maximum length of a file name on common file systems."""
MAX_PATH_BYTES = 4096
"""Maximum length of a path on Linux, including the terminating zero."""
MOST_LEVELS = 200
"""Folders inside each other; Python's functions for paths are recursive and fail beyond a thousand."""


def check_output(path: Path, overwrite: bool, size: tuple[int, int] | None = None) -> None:
    """Raise the error that `write_image` would raise for a path, before the work is done.

    `size`: width and height of the picture, if they are known.
    """
    if path.suffix.lower() not in FORMAT_OF:
        raise OutputError(f"{path} has no known image suffix", f"use one of {', '.join(FORMAT_OF)}")
    _check_name(path)
    if size is not None:
        check_size(path, *size)
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder", "name a file in it")
    if os.path.lexists(path) and not overwrite:  # also a dangling link
        raise OutputExists(f"{path} exists already", "choose another name, or ask for overwriting")
    parent = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    if not os.path.isdir(parent):
        raise OutputError(f"{path} cannot be written: {parent} is not a folder", "choose another folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission in {parent}", "choose another folder")


def check_size(path: Path, width: int, height: int) -> None:
    """Raise `OutputError` if the format of the path's suffix cannot hold a picture of that size."""
    kind = FORMAT_OF[path.suffix.lower()]
    most = LONGEST_SIDE.get(kind)
    why = f"at most {most} pixels a side" if most is not None and max(width, height) > most else ""
    if kind == "BMP" and width * height * BMP_PIXEL_BYTES > MAX_BMP_BYTES:
        why = "at most 4 GiB"
    if why:
        raise OutputError(
            f"a result of {width}x{height} pixels does not fit in a {path.suffix} file, which holds {why}",
            "choose PNG, TIFF or JPEG XL, or a smaller size",
        )


def _check_name(path: Path) -> None:
    """Raise for a name that no file can have, or that messages and records cannot hold."""
    try:
        size = len(str(path).encode()) and max(len(part.encode()) for part in path.parts)
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise OutputError(f"the name {shown} is not UTF-8", "choose another name for the result") from None
    if size > MAX_NAME_BYTES:
        raise OutputError(
            f"the name {path.name} has {size} bytes, more than the {MAX_NAME_BYTES} of a file name",
            "choose a shorter name for the result",
        )
    is_deep = len(path.parts) > MOST_LEVELS
    if is_deep or len(os.fsencode(path.absolute())) >= MAX_PATH_BYTES or "\0" in str(path):
        shown = f"{str(path)[:80]}..." if len(str(path)) > MAX_NAME_BYTES else printable(str(path))
        raise OutputError(f"{shown} is not a path that a file can have", "choose another path for the result")
