"""The folder of a run: state, images and trace. A kill loses at most the last step."""

from __future__ import annotations

import io
import math
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from agent.errors import RunError
from agent.events import Event
from agent.state import RunState
from imaging.atomic import atomic_write, make_folder
from imaging.convert import to_float, to_uint16
from imaging.disk import FREE_IT
from imaging.errors import RestoreError
from imaging.image import Image
from imaging.metadata import metadata_from_json, metadata_to_json
from imaging.opening import no_link, read_small
from imaging.pixels import empty, row_chunks
from imaging.resizing import fitted, resize
from imaging.writing import thumbnail_jpeg

if TYPE_CHECKING:
    from torch import Tensor

THUMBNAIL_SIDE, MAX_THUMBNAIL_BYTES = 320, 1 << 20
SLIDER_SIDE = 1400
MAX_STATE_BYTES, MAX_TRACE_BYTES = 16 << 20, 16 << 20
SMALL = ("icc", "metadata", "kind", "quantization_relative_to_q50")
"""Arrays of an image that are not pixels."""
MASK = -1
"""Node number under which the mask is stored."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run on disk. The folder itself may be a link, its files and folders may not."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new folder; `RunError` if it exists or cannot be created."""
        try:
            make_folder(path)
            (path / "nodes").mkdir()
            (path / "thumbnails").mkdir()
        except OSError as error:
            if not isinstance(error, FileExistsError):
                for created in (path / "nodes", path):
                    with suppress(OSError):
                        created.rmdir()
            raise RunError(
                f"the run folder {path} cannot be made: {error.strerror}", f"{FREE_IT}, or choose another folder"
            ) from error
        return cls(path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder inside the block. Raises `RunError` if another process works on the run."""
        try:
            lock = filelock.FileLock(self.path / "lock", timeout=0).acquire()
        except filelock.Timeout as error:
            raise RunError(f"another process works on run {self.path.name}", "wait until it has ended") from error
        except OSError as error:
            raise RunError(f"the run folder {self.path} cannot be written: {error.strerror}", FREE_IT) from error
        with lock:
            yield

    def delete(self) -> None:
        """Delete the folder, as far as possible."""
        shutil.rmtree(self.path, ignore_errors=True)

    def delete_if_never_begun(self) -> None:
        """Delete a folder without a state; `RunError` if another process works on it."""
        if self.path.is_symlink() or os.path.lexists(self.path / "state.json"):
            return
        with self.held():
            if not os.path.lexists(self.path / "state.json"):
                self.delete()

    def save_state(self, state: RunState) -> None:
        """Replace the state atomically."""
        _write_atomically(self.path / "state.json", state.model_dump_json(indent=1).encode())

    def load_state(self) -> RunState:
        """The last saved state; `RunError` if it is missing or damaged."""
        file = self.path / "state.json"
        try:
            return RunState.model_validate_json(read_small(file, MAX_STATE_BYTES, follow_link=False))
        except OSError as error:
            raise RunError(f"{self.path} is not a run folder: {file.name}: {error.strerror}") from error
        except ValidationError as error:
            raise RunError(f"{file} is damaged or of another version: {error.errors()[0]['msg']}") from error

    def save_image(self, node: int, image: Image) -> None:
        """Save a node's image in 16 bits; `RunError` if it cannot be written."""
        small: dict[str, NDArray[Any]] = {
            "icc": np.frombuffer(image.icc_profile or b"", np.uint8),
            "metadata": np.frombuffer(metadata_to_json(image), np.uint8),
            "kind": np.array([image.bit_depth, image.greyscale, image.network_space]),
        }
        if image.quantization_relative_to_q50 is not None:
            small["quantization_relative_to_q50"] = np.array(image.quantization_relative_to_q50)
        file = self._image_file(node)
        # Not synced, which takes longer than many experts: after a power failure the step is repeated.
        with _writing(file), atomic_write(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, array in small.items():
                with archive.open(f"{name}.npy", "w") as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)
            _save(archive, "pixels", image.pixels)
            if image.alpha is not None:
                _save(archive, "alpha", image.alpha)
            if image.file_pixels is not None and node == 0:  # the same for all nodes
                _save(archive, "file_pixels", image.file_pixels)

    def load_image(self, node: int) -> Image:
        """A node's image; `RunError` if it is missing or damaged."""
        file = self._image_file(node)
        try:
            with _opened(file) as archive:
                small = {name: _load_small(archive, name) for name in SMALL if f"{name}.npy" in archive.namelist()}
                bit_depth, greyscale, network_space = (int(value) for value in small["kind"])
                quantization = small.get("quantization_relative_to_q50")
                with _opened(self._image_file(0) if network_space else file) as first:
                    return Image(
                        pixels=_load(archive, "pixels"),
                        file_pixels=_load_if_there(first, "file_pixels"),
                        alpha=_load_if_there(archive, "alpha", 1),
                        icc_profile=small["icc"].tobytes() or None,
                        bit_depth=bit_depth,
                        greyscale=bool(greyscale),
                        network_space=bool(network_space),
                        quantization_relative_to_q50=None if quantization is None else float(quantization),
                        **metadata_from_json(small["metadata"].tobytes()),
                    )
        except RestoreError:
            raise
        except Exception as error:  # readers of an untrusted file can raise anything
            raise RunError(f"image {file.name} of run {self.path} is missing or damaged: {error}") from error

    def drop_images(self) -> None:
        """Delete the images after the result is written; thumbnails and trace are kept."""
        for file in self._inner("nodes").glob("*.npz"):
            file.unlink()

    def save_thumbnail(self, name: str, image: Image, same_as: str = "") -> None:
        """Save a small JPEG for the report. `same_as`: a name under which that of this image may be saved already."""
        folder = self._inner("thumbnails")
        data = b""
        if same_as:
            with suppress(OSError):
                data = read_small(folder / f"{same_as}.jpg", MAX_THUMBNAIL_BYTES, follow_link=False)
        _write_atomically(folder / f"{name}.jpg", data or thumbnail_jpeg(image, THUMBNAIL_SIDE))

    def read_trace(self) -> bytes:
        """The events so far, one JSON object per line. Raises `RunError`."""
        file = self.path / "trace.jsonl"
        try:
            return read_small(file, MAX_TRACE_BYTES, follow_link=False)
        except OSError as error:
            raise RunError(f"run {self.path.name} has no trace that can be read: {error.strerror}") from error

    def save_before_after(self, before: Image, after: Image) -> None:
        """Save the two pictures of the report's slider, in the same size."""
        height, width = fitted(after.height, after.width, min(SLIDER_SIDE, after.long_side))
        for name, image in (("before", before), ("after", after)):
            shown = image.with_pixels(resize(image.pixels, height, width))
            _write_atomically(self.path / f"{name}.jpg", thumbnail_jpeg(shown, SLIDER_SIDE, quality=88))

    def append_event(self, event: Event) -> None:
        """Append a line to the trace."""
        file = self.path / "trace.jsonl"
        with _writing(file), open(file, "ab", opener=no_link) as stream:
            stream.write(event.model_dump_json().encode() + b"\n")

    def _image_file(self, node: int) -> Path:
        return self._inner("nodes") / f"{node}.npz"

    def _inner(self, name: str) -> Path:
        folder = self.path / name
        if folder.is_symlink():
            raise RunError(f"{folder} is a link", "put the folder in its place")
        return folder


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    """An archive as `save_image` writes it: nothing in it is larger than the file. Raises `ValueError`."""
    with open(file, "rb", opener=no_link) as stream, zipfile.ZipFile(stream) as archive:
        size = os.fstat(stream.fileno()).st_size
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or not entry.file_size == entry.compress_size <= size:
                raise ValueError(f"{entry.filename} is not stored as it is written")
        yield archive


def _load_small(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    data = archive.read(f"{name}.npy")
    array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return array


def _save(archive: zipfile.ZipFile, name: str, pixels: Tensor) -> None:
    """Write (C, H, W) pixels as 16-bit integers in the format of `np.savez`, one row chunk at a time."""
    header = {"descr": "<u2", "fortran_order": False, "shape": tuple(pixels.shape)}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array_header_1_0(entry, header)
        for channel in range(len(pixels)):
            for rows in row_chunks(pixels):
                integers = to_uint16(pixels[channel, rows].numpy())
                entry.write(integers.astype("<u2", copy=False).data)


def _load(archive: zipfile.ZipFile, name: str, channels: int = 3) -> Tensor:
    """Read what `_save` wrote. Raises `ValueError` for another shape, and whatever NumPy and zipfile raise."""
    with archive.open(f"{name}.npy") as entry:
        np.lib.format.read_magic(entry)
        shape, _, _ = np.lib.format.read_array_header_1_0(entry)
        size = archive.getinfo(f"{name}.npy").file_size - entry.tell()
        if len(shape) != 3 or shape[0] != channels or min(shape) < 1 or 2 * math.prod(shape) != size:
            raise ValueError(f"{name} has the shape {shape} in {size} bytes")
        pixels = empty(shape)
        for channel in range(shape[0]):
            for rows in row_chunks(pixels):
                size = (rows.stop - rows.start) * shape[2]
                integers = np.frombuffer(entry.read(2 * size), "<u2")
                pixels.numpy()[channel, rows] = to_float(integers.reshape(-1, shape[2]))
    return pixels


def _load_if_there(archive: zipfile.ZipFile, name: str, channels: int = 3) -> Tensor | None:
    return _load(archive, name, channels) if f"{name}.npy" in archive.namelist() else None


def _write_atomically(file: Path, data: bytes) -> None:
    with _writing(file), atomic_write(file, sync=True) as temporary:
        temporary.write_bytes(data)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Turn an OSError into a `RunError` that names the file."""
    try:
        yield
    except OSError as error:
        why = f"{file} cannot be written: {error.strerror or error}"
        raise RunError(f"the run cannot be kept: {why}", FREE_IT) from error
