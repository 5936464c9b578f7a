"""Images that a caller may name by a handle: files in one folder, named after their content.

The folder is the index, so nothing needs repair after a kill, and handles outlive the server. Images are removed when
they have not been used for days, or when the folder is full, the least recently used ones first.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field, ValidationError, model_validator

from agent.state import Step, Verdict
from imaging.atomic import atomic_write
from imaging.disk import FREE_IT, require_space
from imaging.errors import OutputError, ResourceError
from imaging.image import Image
from imaging.metadata import metadata_from_json, metadata_to_json
from imaging.network_space import in_network_space
from imaging.opening import read_small
from imaging.preparing import as_stored, prepared
from imaging.progress import ProgressToken
from imaging.reading import Limits, read_image
from imaging.writing import encode_image
from server.errors import UnknownHandle

HANDLE_DIGITS = 32
"""Hexadecimal digits of a handle: 128 bits, so that no two images with the same one can be found."""
HANDLE_PATTERN = rf"^img_[0-9a-f]{{{HANDLE_DIGITS}}}$"
IMAGE_FILE = r"img_[0-9a-f]{12,}\.image"
"""Names of image files, also of earlier versions, which had shorter handles."""
MAX_ORIGIN_BYTES, MAX_NAME_BYTES = 1 << 20, 4096
IN_USE_SECONDS = 3600.0
"""Images used this recently are not removed to make room."""
CLOCK_TOLERANCE_SECONDS = 60.0
"""Maximum lead of the clock of a file server over that of this machine."""
DAY = 24 * 3600.0


class CandidateOf(BaseModel, frozen=True, extra="forbid"):
    """The step and verdict of an image that a step made: a candidate, or the result that was kept."""

    parent: str
    """Handle of the step's input."""
    step: Step
    verdict: Verdict
    input_verdict: Verdict | None = None
    """Verdict on keeping the input, if that was a candidate."""
    is_modified: bool = Field(default=False, validation_alias=AliasChoices("is_modified", "is_steered"))
    """Whether it was blended with its input or resized after the verdict; `is_steered` in earlier versions."""


class Origin(BaseModel, frozen=True, extra="forbid"):
    """Facts that are stored beside the pixels of an image that a tool made."""

    bit_depth: Literal[8, 16]
    """Bit depth of the source file; the workspace stores 16 bit."""
    greyscale: bool = False
    """Whether the result is saved as greyscale; the workspace stores colour."""
    metadata: str
    """Metadata that a PNG cannot hold exactly (`metadata_to_json`): resolution, IPTC, map, kind of alpha."""
    candidate: CandidateOf | None = None
    network_profile: str = ""
    """Base64 of the ICC profile of a step's result whose pixels are stored as networks see them, in sRGB."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Origin:
        try:
            metadata_from_json(self.metadata.encode())
            base64.b64decode(self.network_profile, validate=True)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not written by this program: {error!r}") from error
        return self


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder of images with a size limit."""

    folder: Path
    max_bytes: int = 8 << 30
    max_days: float = 30.0
    free_bytes: int = 1 << 30
    """Space that must stay free on the disk."""

    def store_file(self, data: bytes, name: str = "") -> str:
        """Store the bytes of a readable image file and return its handle. `name`: base name of its photo."""
        handle = handle_of(data)
        if not self._holds(handle, data):
            self._make_room(len(data))
            self._write(self._file(handle), data)
        self._set_name(handle, name)
        return handle

    def store_image(
        self,
        image: Image,
        candidate: CandidateOf | None = None,
        name: str = "",
        token: ProgressToken | None = None,
    ) -> str:
        """Store an image, quantized to 16 bit, and return its handle. `name`: as for `store_file`.

        Equal pixels by two experts get two handles, because each has its own verdict. The result of a step is stored
        as networks see it, so that the next step gets the same pixels.
        """
        stored, profile = replace(image, bit_depth=16, greyscale=False), ""
        if candidate and image.network_space:
            profile = base64.b64encode(image.icc_profile or b"").decode()
            stored = replace(stored, icc_profile=None, network_space=False, file_pixels=None)
        data = encode_image(stored, "PNG", token=token)
        bit_depth: Literal[8, 16] = 16 if image.bit_depth == 16 else 8
        metadata = metadata_to_json(replace(image, exif=None, xmp=None)).decode()
        origin = Origin(
            bit_depth=bit_depth,
            greyscale=image.greyscale,
            metadata=metadata,
            candidate=candidate,
            network_profile=profile,
        )
        made_by = f"{candidate.parent} {candidate.step} {candidate.verdict.expert}" if candidate else "made here"
        handle = handle_of(data, f"{made_by} {origin.bit_depth} {metadata}".encode())
        if not self._holds(handle, data):
            self._make_room(len(data))
            self._write(self._file(handle, "json"), origin.model_dump_json().encode())
            self._write(self._file(handle), data)
        self._set_name(handle, name)
        return handle

    def load(self, handle: str, limits: Limits | None = None, token: ProgressToken | None = None) -> Image:
        """The image of a handle, prepared for experts. Raises `UnknownHandle`, and `ImageError` if it is damaged."""
        image = read_image(self.path(handle), limits, token=token)
        origin = self._read_origin(handle)
        if origin is None:
            return as_stored(prepared(image))
        metadata = metadata_from_json(origin.metadata.encode()) | {"exif": image.exif, "xmp": image.xmp}
        image = replace(image, bit_depth=origin.bit_depth, greyscale=origin.greyscale, **metadata)
        if not origin.network_profile:
            return in_network_space(image)
        photo, candidate = self.line(handle)[0]
        return replace(
            image,
            icc_profile=base64.b64decode(origin.network_profile),
            network_space=True,
            file_pixels=self.load(photo, limits, token).file_pixels
            if photo != handle and candidate is None
            else None,
        )

    def name(self, handle: str) -> str:
        """The base name of the photo that an image comes from, or the handle if it has none."""
        with suppress(OSError):
            return os.fsdecode(read_small(self._file(handle, "name"), MAX_NAME_BYTES, follow_link=False))
        return handle

    def candidate(self, handle: str) -> CandidateOf | None:
        """The step and verdict of the image; None if no step made it. Raises `UnknownHandle`."""
        self.path(handle)
        origin = self._read_origin(handle)
        return origin.candidate if origin else None

    def line(self, handle: str) -> list[tuple[str, CandidateOf | None]]:
        """The existing images from which steps made an image, the oldest first, then the image itself."""
        found = list[tuple[str, CandidateOf | None]]()
        with suppress(UnknownHandle):
            while handle not in {known for known, _ in found}:
                candidate = self.candidate(handle)
                found.append((handle, candidate))
                if candidate is None:
                    break
                handle = candidate.parent
        return found[::-1]

    def path(self, handle: str) -> Path:
        """The image file of a handle. Raises `UnknownHandle`."""
        if not re.fullmatch(HANDLE_PATTERN, handle):
            raise UnknownHandle(f"{handle!r} is not a handle", f"handles are img_ and {HANDLE_DIGITS} digits")
        if not self._used(handle):
            raise UnknownHandle(
                f"there is no image {handle} in the workspace",
                "use a handle that a tool of this server returned; old ones expire, then give the image again",
            )
        return self._file(handle)

    def _used(self, handle: str) -> bool:
        """Whether the image exists, and is not a link; marks it as used now."""
        picture = self._file(handle)
        try:
            if picture.is_symlink():
                return False
            os.utime(picture)
        except OSError:
            return False
        return True

    def _holds(self, handle: str, data: bytes) -> bool:
        """Whether the image exists undamaged; marks it as used now."""
        with suppress(OSError):
            return read_small(self._file(handle), len(data), follow_link=False) == data and self._used(handle)
        return False

    def _make_room(self, size: int) -> None:
        """Remove expired, then least recently used images. Raises `ResourceError` if that is not enough."""
        now = time.time()
        kept = 0
        for used, handle, length in sorted(self._images(now), reverse=True):
            unused = now - used
            if unused > self.max_days * DAY or (unused > IN_USE_SECONDS and kept + length + size > self.max_bytes):
                with suppress(OSError):
                    for kind in ("image", "json", "name"):
                        self._file(handle, kind).unlink(missing_ok=True)
                    continue
            kept += length
        if kept + size > self.max_bytes:
            raise ResourceError(
                f"the workspace holds {kept} bytes used within the hour, of at most {self.max_bytes}",
                "continue with the existing images, or start the server with a larger --workspace-gb",
            )
        require_space(self.folder, size + self.free_bytes)

    def _images(self, now: float) -> Iterator[tuple[float, str, int]]:
        """Time of last use, handle and size of each image; removes stale partial files.

        A time in the future was written before the clock was set back. Images used since then have correct times, so
        such an image counts as not in use.
        """
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.folder):
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    ahead = status.st_mtime > now + CLOCK_TOLERANCE_SECONDS
                    used = now - IN_USE_SECONDS - 1 if ahead else status.st_mtime
                    if re.fullmatch(IMAGE_FILE, entry.name) and stat.S_ISREG(status.st_mode):
                        yield used, entry.name.removesuffix(".image"), status.st_size
                    elif entry.name.endswith(".part") and now - used > IN_USE_SECONDS:
                        os.unlink(entry.path)

    def handles(self) -> list[str]:
        """All handles, newest first."""
        found = []
        for path in self.folder.glob("img_*.image"):
            with suppress(FileNotFoundError):  # removed meanwhile
                if not path.is_symlink():
                    found.append((path.stat().st_mtime_ns, path.stem))
        return [handle for _, handle in sorted(found, reverse=True) if re.fullmatch(HANDLE_PATTERN, handle)]

    def _read_origin(self, handle: str) -> Origin | None:
        path = self._file(handle, "json")
        if not path.exists():
            return None
        try:
            return Origin.model_validate_json(read_small(path, MAX_ORIGIN_BYTES, follow_link=False))
        except (OSError, ValidationError) as error:
            raise UnknownHandle(f"{path.name} is damaged or of another version", "make the image again") from error

    def _file(self, handle: str, kind: str = "image") -> Path:
        """The file of an image (`image`), of its origin (`json`) or of its name (`name`)."""
        return self.folder / f"{handle}.{kind}"

    def _set_name(self, handle: str, name: str) -> None:
        if name and name != self.name(handle):
            self._write(self._file(handle, "name"), os.fsencode(name))

    def _write(self, path: Path, data: bytes) -> None:
        """Write atomically. Callers write the origin before its picture, so that an existing handle is complete."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise OutputError(f"the workspace {self.folder} cannot be written: {error.strerror}", FREE_IT) from error


def handle_of(*parts: bytes) -> str:
    """The handle of an image with these bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return f"img_{digest.hexdigest()[:HANDLE_DIGITS]}"
