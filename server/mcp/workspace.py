"""Images that a caller may name by a handle: files in one folder, named after their content.

The folder is the index, so that nothing has to be repaired after a kill, and handles outlive the server. What has not
been used for long goes, and where the folder is full, what has not been used for longest.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.state import Step, Verdict
from imaging.alpha import bleed_alpha
from imaging.atomic import atomic_write
from imaging.disk import require_space
from imaging.errors import OutputError, ResourceError
from imaging.image import Image
from imaging.reading import Limits, read_image
from imaging.writing import encode_image
from server.errors import UnknownHandle

HANDLE_PATTERN = r"^img_[0-9a-f]{12}$"
IN_USE_SECONDS = 3600.0
"""Images used this recently are not removed to make room."""
DAY = 24 * 3600.0


class CandidateOf(BaseModel):
    """The step and verdict of an image that is a candidate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parent: str
    """Handle of the step's input."""
    step: Step
    verdict: Verdict


class Origin(BaseModel):
    """Facts that are stored beside the pixels of an image made here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bit_depth: Literal[8, 16]
    """Bit depth of the source file; the workspace stores 16 bit."""
    greyscale: bool = False
    """Whether the result is saved as greyscale; the workspace stores colour."""
    candidate: CandidateOf | None = None


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder of images with a size limit."""

    folder: Path
    max_bytes: int = 8 << 30
    max_days: float = 30.0
    free_bytes: int = 1 << 30
    """Space that must stay free on the disk."""

    def keep_file(self, data: bytes, name: str = "") -> str:
        """Store the bytes of a readable image file and return its handle.

        `name`: base name of the photo that it comes from.
        """
        handle = _handle(data)
        if not self._used(handle):
            self._make_room(len(data))
            self._write(self._picture(handle), data)
        self._call(handle, name)
        return handle

    def keep_image(self, image: Image, candidate: CandidateOf | None = None, name: str = "") -> str:
        """Store an image, quantized to 16 bit, and return its handle. `name`: as for `keep_file`.

        Equal pixels by two experts get two handles, because each has its own verdict.
        """
        data = encode_image(replace(image, bit_depth=16, greyscale=False), "PNG")
        bit_depth: Literal[8, 16] = 16 if image.bit_depth == 16 else 8
        origin = Origin(bit_depth=bit_depth, greyscale=image.greyscale, candidate=candidate)
        made_by = f"{candidate.parent} {candidate.step} {candidate.verdict.expert}" if candidate else "made here"
        handle = _handle(data, f"{made_by} {origin.bit_depth}".encode())
        if not self._used(handle):
            self._make_room(len(data))
            self._write(self._origin(handle), origin.model_dump_json().encode())
            self._write(self._picture(handle), data)
        self._call(handle, name)
        return handle

    def load(self, handle: str, limits: Limits | None = None) -> Image:
        """Load the image of a handle; transparent pixels of a caller's file are filled.

        Raises `UnknownHandle`, and `ImageError` where its file is damaged.
        """
        image = read_image(self.path(handle), limits)
        origin = self._read_origin(handle)
        if origin is None:
            return bleed_alpha(image)
        return replace(image, bit_depth=origin.bit_depth, greyscale=origin.greyscale)

    def name(self, handle: str) -> str:
        """The base name of the photo that an image comes from, or the handle if it has none."""
        with suppress(OSError):
            return os.fsdecode(self._name(handle).read_bytes())
        return handle

    def candidate(self, handle: str) -> CandidateOf | None:
        """The step and verdict of the image; None if it is not a candidate. Raises `UnknownHandle`."""
        self.path(handle)
        origin = self._read_origin(handle)
        return origin.candidate if origin else None

    def path(self, handle: str) -> Path:
        """The image file of a handle. Raises `UnknownHandle`."""
        if not re.fullmatch(HANDLE_PATTERN, handle):
            raise UnknownHandle(f"{handle!r} is not a handle", "handles look like img_0123456789ab")
        if not self._used(handle):
            raise UnknownHandle(
                f"there is no image {handle} in the workspace",
                "use a handle that a tool of this server returned; old ones expire, then give the image again",
            )
        return self._picture(handle)

    def _used(self, handle: str) -> bool:
        """Whether the image exists; marks it as used now."""
        try:
            os.utime(self._picture(handle))
        except OSError:
            return False
        return True

    def _make_room(self, size: int) -> None:
        """Remove expired, then least recently used images. Raises `ResourceError` if that is not enough."""
        now = time.time()
        kept = 0
        for used, handle, length in sorted(self._images(now), reverse=True):
            unused = now - used
            if unused > self.max_days * DAY or (unused > IN_USE_SECONDS and kept + length + size > self.max_bytes):
                self._picture(handle).unlink(missing_ok=True)
                self._origin(handle).unlink(missing_ok=True)
                self._name(handle).unlink(missing_ok=True)
            else:
                kept += length
        if kept + size > self.max_bytes:
            raise ResourceError(
                f"the workspace holds {kept} bytes used within the hour, of at most {self.max_bytes}",
                "continue with the existing images, or start the server with a larger --workspace-gb",
            )
        require_space(self.folder, size + self.free_bytes)

    def _images(self, now: float) -> Iterator[tuple[float, str, int]]:
        """Time of last use, handle and size of each image; removes stale partial files."""
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.folder):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".image"):
                        yield status.st_mtime, entry.name.removesuffix(".image"), status.st_size
                    elif entry.name.endswith(".part") and now - status.st_mtime > IN_USE_SECONDS:
                        os.unlink(entry.path)

    def handles(self) -> list[str]:
        """All handles, newest first."""
        found = []
        for path in self.folder.glob("img_*.image"):
            with suppress(FileNotFoundError):  # removed meanwhile
                found.append((path.stat().st_mtime_ns, path.stem))
        return [handle for _, handle in sorted(found, reverse=True)]

    def _read_origin(self, handle: str) -> Origin | None:
        path = self._origin(handle)
        if not path.exists():
            return None
        try:
            return Origin.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise UnknownHandle(f"{path.name} is damaged or of another version", "make the image again") from error

    def _picture(self, handle: str) -> Path:
        return self.folder / f"{handle}.image"

    def _origin(self, handle: str) -> Path:
        return self.folder / f"{handle}.json"

    def _name(self, handle: str) -> Path:
        return self.folder / f"{handle}.name"

    def _call(self, handle: str, name: str) -> None:
        if name and name != self.name(handle):
            self._write(self._name(handle), os.fsencode(name))

    def _write(self, path: Path, data: bytes) -> None:
        """Write atomically. Callers write the origin before its picture, so that an existing handle is complete."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise OutputError(
                f"the workspace {self.folder} cannot be written: {error.strerror}", "free or unlock that folder"
            ) from error


def _handle(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return f"img_{digest.hexdigest()[:12]}"
