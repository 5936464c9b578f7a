"""The folder of a run: state, images and trace. A kill at any moment loses no finished step."""

from __future__ import annotations

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
from imaging.atomic import atomic_write
from imaging.convert import to_float, to_uint16
from imaging.disk import FREE_IT
from imaging.image import Image
from imaging.metadata import metadata_from_json, metadata_to_json
from imaging.opening import read_small
from imaging.pixels import empty, row_chunks
from imaging.resizing import fitted, resize
from imaging.writing import thumbnail_jpeg

if TYPE_CHECKING:
    from torch import Tensor

THUMBNAIL_SIDE = 320
SLIDER_SIDE = 1400
MAX_STATE_BYTES = 64 << 20
MASK = -1
"""The number under which the mask is stored among the images of nodes."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new folder; `RunError` if it exists or cannot be created."""
        try:
            (path / "nodes").mkdir(parents=True)
            (path / "thumbnails").mkdir()
        except OSError as error:
            if not isinstance(error, FileExistsError):
                for made in (path / "nodes", path):
                    with suppress(OSError):
                        made.rmdir()
            raise RunError(
                f"the run folder {path} cannot be made: {error.strerror}", f"{FREE_IT}, or choose another folder"
            ) from error
        return cls(path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder inside the block. Raises `RunError` if another process works on the run."""
        lock = filelock.FileLock(self.path / "lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise RunError(f"another process works on run {self.path.name}", "wait until it has ended") from error
        except OSError as error:
            raise RunError(f"the run folder {self.path} cannot be written: {error.strerror}", FREE_IT) from error
        try:
            yield
        finally:
            lock.release()

    def delete(self) -> None:
        """Delete the folder, as far as possible."""
        shutil.rmtree(self.path, ignore_errors=True)

    def save_state(self, state: RunState) -> None:
        """Replace the state atomically."""
        _write_atomically(self.path / "state.json", state.model_dump_json(indent=1).encode())

    def load_state(self) -> RunState:
        """The last saved state; `RunError` if it is missing or damaged."""
        file = self.path / "state.json"
        try:
            return RunState.model_validate_json(read_small(file, MAX_STATE_BYTES))
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
            with np.load(file, allow_pickle=False) as arrays:
                bit_depth, greyscale, network_space = (int(value) for value in arrays["kind"])
                icc, metadata = arrays["icc"].tobytes(), metadata_from_json(arrays["metadata"].tobytes())
                quantization = arrays.get("quantization_relative_to_q50")
            with (
                zipfile.ZipFile(file) as archive,
                zipfile.ZipFile(self._image_file(0) if network_space else file) as first,
            ):
                return Image(
                    pixels=_load(archive, "pixels"),
                    file_pixels=_load_if_there(first, "file_pixels"),
                    alpha=_load_if_there(archive, "alpha"),
                    icc_profile=icc or None,
                    bit_depth=bit_depth,
                    greyscale=bool(greyscale),
                    network_space=bool(network_space),
                    quantization_relative_to_q50=None if quantization is None else float(quantization),
                    **metadata,
                )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise RunError(f"image {file.name} of run {self.path} is missing or damaged: {error}") from error

    def drop_images(self) -> None:
        """Delete the images after the result is written; thumbnails and trace are kept."""
        for file in (self.path / "nodes").glob("*.npz"):
            file.unlink()

    def save_thumbnail(self, name: str, image: Image) -> None:
        """Save a small JPEG for the report."""
        _write_atomically(self.path / "thumbnails" / f"{name}.jpg", thumbnail_jpeg(image, THUMBNAIL_SIDE))

    def save_before_after(self, before: Image, after: Image) -> None:
        """Save the two pictures of the report's slider, in the same size."""
        height, width = fitted(after.height, after.width, min(SLIDER_SIDE, after.long_side))
        for name, image in (("before", before), ("after", after)):
            shown = image.with_pixels(resize(image.pixels, height, width))
            _write_atomically(self.path / f"{name}.jpg", thumbnail_jpeg(shown, SLIDER_SIDE, quality=88))

    def append_event(self, event: Event) -> None:
        """Append a line to the trace."""
        file = self.path / "trace.jsonl"
        with _writing(file), file.open("ab") as stream:
            stream.write(event.model_dump_json().encode() + b"\n")

    def _image_file(self, node: int) -> Path:
        return self.path / "nodes" / f"{node}.npz"


def _save(archive: zipfile.ZipFile, name: str, pixels: Tensor) -> None:
    """Write (C, H, W) pixels as 16-bit integers in the format of `np.savez`, one row chunk at a time."""
    header = {"descr": "<u2", "fortran_order": False, "shape": tuple(pixels.shape)}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array_header_1_0(entry, header)
        for channel in range(len(pixels)):
            for rows in row_chunks(pixels):
                integers = to_uint16(pixels[channel, rows].numpy())
                entry.write(integers.astype("<u2", copy=False).data)


def _load(archive: zipfile.ZipFile, name: str) -> Tensor:
    """Read what `_save` wrote."""
    with archive.open(f"{name}.npy") as entry:
        np.lib.format.read_magic(entry)
        shape, _, _ = np.lib.format.read_array_header_1_0(entry)
        pixels = empty(shape)
        for channel in range(shape[0]):
            for rows in row_chunks(pixels):
                size = (rows.stop - rows.start) * shape[2]
                integers = np.frombuffer(entry.read(2 * size), "<u2")
                pixels.numpy()[channel, rows] = to_float(integers.reshape(-1, shape[2]))
    return pixels


def _load_if_there(archive: zipfile.ZipFile, name: str) -> Tensor | None:
    return _load(archive, name) if f"{name}.npy" in archive.namelist() else None


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
