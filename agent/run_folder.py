"""The folder of a run: its state, its images and its trace, written so that a kill at any moment loses no finished
step.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from agent.errors import RunError
from agent.events import Event
from agent.state import RunState
from imaging.atomic import atomic_write
from imaging.convert import to_float, to_uint16
from imaging.image import Image
from imaging.pixels import empty, row_chunks
from imaging.resizing import fitted, resize
from imaging.writing import thumbnail_jpeg

if TYPE_CHECKING:
    from torch import Tensor

THUMBNAIL_SIDE = 320
SLIDER_SIDE = 1400
_EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new folder; `RunError` where it exists or cannot be made."""
        try:
            (path / "nodes").mkdir(parents=True)
            (path / "thumbnails").mkdir()
        except OSError as error:
            raise RunError(
                f"the run folder {path} cannot be made: {error.strerror}", "free its disk, or choose another folder"
            ) from error
        return cls(path)

    def save_state(self, state: RunState) -> None:
        """Replace the state in one go."""
        _write_atomically(self.path / "state.json", state.model_dump_json(indent=1).encode())

    def load_state(self) -> RunState:
        """The state as it was saved last; `RunError` where there is none or it is damaged."""
        file = self.path / "state.json"
        try:
            return RunState.model_validate_json(file.read_bytes())
        except OSError as error:
            raise RunError(f"{self.path} is no run folder: {file.name}: {error.strerror}") from error
        except ValidationError as error:
            raise RunError(f"{file} is damaged or of another version: {error.errors()[0]['msg']}") from error

    def save_image(self, node: int, image: Image) -> None:
        """Keep a node's image, in 16 bit; `RunError` where the disk does not take it."""
        small: dict[str, NDArray[Any]] = {
            "icc": np.frombuffer(image.icc_profile or b"", np.uint8),
            "exif": np.frombuffer(image.exif or b"", np.uint8),
            "kind": np.array([image.bit_depth, image.greyscale]),
        }
        if image.quantization_relative_to_q50 is not None:
            small["quantization_relative_to_q50"] = np.array(image.quantization_relative_to_q50)
        file = self._image_file(node)
        # Not forced to disk, which takes longer than many an expert: after a power cut this step is done again.
        with _writing(file), atomic_write(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, array in small.items():
                with archive.open(f"{name}.npy", "w") as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)
            _save(archive, "pixels", image.pixels)
            if image.alpha is not None:
                _save(archive, "alpha", image.alpha)

    def load_image(self, node: int) -> Image:
        """A node's image; `RunError` where it is missing or damaged."""
        file = self._image_file(node)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                bit_depth, greyscale = (int(value) for value in arrays["kind"])
                icc, exif = arrays["icc"].tobytes(), arrays["exif"].tobytes()
                steps = (
                    float(arrays["quantization_relative_to_q50"])
                    if "quantization_relative_to_q50" in arrays
                    else None
                )
            with zipfile.ZipFile(file) as archive:
                return Image(
                    pixels=_load(archive, "pixels"),
                    alpha=_load(archive, "alpha") if "alpha.npy" in archive.namelist() else None,
                    icc_profile=icc or None,
                    exif=exif or None,
                    bit_depth=bit_depth,
                    greyscale=bool(greyscale),
                    quantization_relative_to_q50=steps,
                )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise RunError(f"image {file.name} of run {self.path} is missing or damaged: {error}") from error

    def drop_images(self) -> None:
        """Free the disk once the result is written; thumbnails and trace stay."""
        for file in (self.path / "nodes").glob("*.npz"):
            file.unlink()

    def save_thumbnail(self, name: str, image: Image) -> None:
        """A small JPEG for the report."""
        _write_atomically(self.path / "thumbnails" / f"{name}.jpg", thumbnail_jpeg(image, THUMBNAIL_SIDE))

    def save_before_after(self, before: Image, after: Image) -> None:
        """The two pictures of the report's slider, of one size."""
        height, width = fitted(after.height, after.width, min(SLIDER_SIDE, after.long_side))
        for name, image in (("before", before), ("after", after)):
            shown = image.with_pixels(resize(image.pixels, height, width))
            _write_atomically(self.path / f"{name}.jpg", thumbnail_jpeg(shown, SLIDER_SIDE, quality=88))

    def append_event(self, event: Event) -> None:
        """Add a line to the trace."""
        file = self.path / "trace.jsonl"
        with _writing(file), file.open("ab") as stream:
            stream.write(_EVENTS.dump_json(event) + b"\n")

    def events(self) -> list[Event]:
        """The trace so far. A line that a kill cut short is left out."""
        file = self.path / "trace.jsonl"
        lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
        events = []
        for line in lines:
            try:
                events.append(_EVENTS.validate_json(line))
            except ValidationError:
                continue
        return events

    def _image_file(self, node: int) -> Path:
        return self.path / "nodes" / f"{node}.npz"


def _save(archive: zipfile.ZipFile, name: str, pixels: Tensor) -> None:
    """Write (C, H, W) pixels as an array of 16 bit, as `np.savez` does but a row chunk at a time."""
    header = {"descr": "<u2", "fortran_order": False, "shape": tuple(pixels.shape)}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array_header_1_0(entry, header)
        for channel in range(len(pixels)):
            for rows in row_chunks(pixels):
                integers = to_uint16(pixels[channel, rows].numpy())
                entry.write(integers.astype("<u2", copy=False).data)


def _load(archive: zipfile.ZipFile, name: str) -> Tensor:
    """What `_save` has written."""
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


def _write_atomically(file: Path, data: bytes) -> None:
    with _writing(file), atomic_write(file, sync=True) as temporary:
        temporary.write_bytes(data)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Say what could not be written where the disk is full or gone."""
    try:
        yield
    except OSError as error:
        why = f"{file} cannot be written: {error.strerror or error}"
        raise RunError(f"the run cannot be kept: {why}", "free or unlock its disk") from error
