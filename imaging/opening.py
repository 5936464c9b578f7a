"""Reading of the bytes of regular files, which are opened once, with or without following links."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from imaging.errors import ImageError, ImageTooLarge
from imaging.limits import Limits


def read_bytes(path: Path, limits: Limits) -> bytes:
    """Read the bytes of a file. Raises an `ImageError` if it is not a regular file, or is beyond the limits.

    The file is opened once for checks and reading, so replacing the path meanwhile has no effect.
    """
    try:
        descriptor = _opened(path, limits.follow_links)
        try:
            _check(os.fstat(descriptor), path, limits)
            with open(descriptor, "rb", closefd=False) as stream:
                return stream.read(limits.max_bytes + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist", "check the path") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}", "check the path and its permissions") from error
    except ValueError as error:
        raise ImageError(f"{path} cannot be read: {error}", "check the path") from error


def read_small(path: Path, max_bytes: int, *, follow_link: bool = True) -> bytes:
    """Read a small file, for example settings.

    Raises `OSError`, also if it is larger than `max_bytes` or not a regular file: a named pipe in its place would
    block the reader. `follow_link`: whether the file itself may be a link.
    """
    descriptor = _opened(path, follow_links=True) if follow_link else no_link(str(path), os.O_RDONLY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as stream:
            data = stream.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"too large, at most {max_bytes} bytes are read", str(path))
    return data


def no_link(path: str, flags: int) -> int:
    """An opener for `open` that follows no link and does not wait for the other end of a named pipe."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def _check(status: os.stat_result, path: Path, limits: Limits) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path} is a folder", "give one image file")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path} is not a regular file", "give one image file")
    if status.st_size > limits.max_bytes:
        raise ImageTooLarge(
            f"{path} has {status.st_size} bytes, more than {limits.max_bytes}", "shrink it or raise the limit"
        )


def _opened(path: Path, follow_links: bool) -> int:
    """A file descriptor; opening a named pipe does not wait for its other end."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if follow_links or not hasattr(os, "O_NOFOLLOW"):
        if os.name == "nt" and path.is_dir():  # cannot be opened there
            raise ImageError(f"{path} is a folder", "give one image file")
        return os.open(path, flags)
    path = path.absolute()
    folder = os.open(path.anchor, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    try:
        for part in path.parts[1:-1]:
            inner = os.open(part, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(path.name or ".", flags | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


HEAD_BYTES = 32
_HEADS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    *(b"\x00\x00\x00\x0cJXL \r\n\x87\n", b"\xff\x0a", b"\x00\x00\x00\x0cjP  \r\n\x87\n"),
)
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")


def begins_like_an_image(path: Path) -> bool:
    """Whether the first bytes of a regular file are those of an image, whatever its name says."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as stream:
            head = stream.read(HEAD_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except (OSError, ValueError):
        return False
    of_riff = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    return head.startswith(_HEADS) or of_riff or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)
