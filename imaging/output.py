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
MAX_NAME_BYTES = 255
"""Maximum length of a file name on common file systems."""
MAX_PATH_BYTES = 4096
"""Maximum length of a path on Linux, including the terminating zero."""
MOST_LEVELS = 200
"""Folders inside each other; Python's functions for paths are recursive and fail beyond a thousand."""


def check_output(path: Path, overwrite: bool) -> None:
    """Raise the error that `write_image` would raise for a path, before the work is done."""
    if path.suffix.lower() not in FORMAT_OF:
        raise OutputError(f"{path} has no known image suffix", f"use one of {', '.join(FORMAT_OF)}")
    _check_name(path)
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder", "name a file in it")
    if os.path.lexists(path) and not overwrite:  # also a dangling link
        raise OutputExists(f"{path} exists already", "choose another name, or ask for overwriting")
    parent = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    if not os.path.isdir(parent):
        raise OutputError(f"{path} cannot be written: {parent} is not a folder", "choose another folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission in {parent}", "choose another folder")


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
