"""The parent's side of decoding processes: a few are kept warm, and one that hangs or dies is replaced."""

from __future__ import annotations

import atexit
import json
import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from imaging import errors
from imaging.child import POLL_SECONDS, START_SECONDS, Child, Ended, read_into, watched
from imaging.decoding.decoded import Metadata, Samples
from imaging.errors import BrokenImage, Cancelled, ImageError, ImageTooLarge, ResourceError
from imaging.limits import Limits, wall_seconds
from imaging.progress import ProgressToken

MOST_IDLE = 2
MOST_BUSY = max(2, os.cpu_count() or 1)
REQUESTS_EACH = 200
"""Requests after which a process is replaced, so that memory leaks of libraries do not add up."""
MOST_BLOB_BYTES = 64 << 20
TYPES = ("uint8", "uint16", "float32")
REFUSALS = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}
WORKER = "imaging.decoding.worker"
VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # Keep the memory of one picture for the next: page faults take a third of the time of decoding.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}


@dataclass(slots=True)
class Answer:
    """The header of a decoded image, whose rows are read afterwards, once and in order."""

    height: int
    width: int
    channels: int
    kind: str
    bit_depth: int
    metadata: Metadata
    _stream: IO[bytes]

    def rows(self, count: int) -> Samples:
        """The next rows, (count, W, channels)."""
        array = np.empty((count, self.width, self.channels), self.kind)
        read_into(self._stream, array.data.cast("B"))
        return array


class _Pool:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._places = threading.Semaphore(MOST_BUSY)

    @contextmanager
    def process(self, token: ProgressToken) -> Iterator[Child]:
        """A process; it is kept for the next request unless the block raises."""
        while not self._places.acquire(timeout=POLL_SECONDS):
            token.check()
        try:
            with self._lock:
                while (process := self._idle.pop() if self._idle else None) and process.has_ended:
                    process.end()
            process = process or Child(WORKER, VARIABLES)
            kept = False
            try:
                yield process
                kept = process.requests < REQUESTS_EACH
            finally:
                self._give_back(process, kept)
        finally:
            self._places.release()

    def _give_back(self, process: Child, kept: bool) -> None:
        with self._lock:
            kept = kept and len(self._idle) < MOST_IDLE
            if kept:
                self._idle.append(process)
        if not kept:
            process.end()

    def warm_up(self) -> None:
        with self._lock:
            if not self._idle:
                self._idle.append(Child(WORKER, VARIABLES))

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()


_pool = _Pool()
atexit.register(lambda: _pool.close())


def _forget() -> None:
    """Reset the pool in a forked child, which must not share its parent's pipes."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def warm_up() -> None:
    """Start a process, so that it is ready for the first file."""
    _pool.warm_up()


@contextmanager
def decoding(
    data: bytes, name: str, suffix: str, limits: Limits, page: int | None, token: ProgressToken | None = None
) -> Iterator[Answer]:
    """Decode an image in a separate process; the caller reads all rows of the answer.

    Raises `ImageError`, also if decoding takes too long or ends the process, and `Cancelled` as soon as the token
    is cancelled.
    """
    token = token or ProgressToken()
    request = {
        "name": name,
        "suffix": suffix,
        "size": len(data),
        "page": page,
        "max_bytes": limits.max_bytes,
        "max_pixels": limits.max_pixels,
    }
    refusal = None
    with _pool.process(token) as process:
        try:
            start = START_SECONDS if not process.requests else 0.0
            with watched(process, start + wall_seconds(limits.max_pixels, len(data)), token.check):
                process.send(request, data)
                answer, refusal = _parsed(process.head(), name, limits, process.output)
                if answer:
                    yield answer
        except Ended:
            raise _death(process, name, token) from None
    if refusal:
        raise refusal


def _death(process: Child, name: str, token: ProgressToken) -> Exception:
    """Why the process ended before its answer."""
    killed, code = process.killed, process.end()
    if token.is_cancelled:
        return Cancelled()
    if killed or code == -getattr(signal, "SIGXCPU", 0):
        return ImageTooLarge(f"{name} takes too long to decode", "save it again with another program")
    if code == 1:
        return ResourceError("the decoding process cannot start", "check the installation with: restore4k doctor")
    return BrokenImage(f"{name} is damaged: it ended the decoder", "save it again with another program")


def _parsed(head: bytes, name: str, limits: Limits, stream: IO[bytes]) -> tuple[Answer | None, ImageError | None]:
    """The answer or its error. Everything is validated, since an untrusted file may control the process."""
    try:
        header = json.loads(head)
        if "error" in header:
            kind = REFUSALS[header["error"]]
            return None, kind(str(header["message"]), str(header["hint"]))
        height, width, channels = (int(side) for side in header["shape"])
        sizes = [int(size) for size in header["blobs"]]
        if (
            header["type"] not in TYPES
            or not 0 < height * width <= limits.max_pixels
            or min(height, width, channels) < 1
            or channels > 4
            or not all(0 <= size <= MOST_BLOB_BYTES for size in sizes)
        ):
            raise ValueError
        icc, exif, xmp, iptc = (_read(stream, size) or None for size in sizes)
        metadata = Metadata(
            orientation=int(header["orientation"]),
            associated_alpha=bool(header["associated_alpha"]),
            icc_profile=icc,
            exif=exif,
            xmp=xmp,
            iptc=iptc,
            dpi=_numbers(header["dpi"]) if header["dpi"] else None,
            geotiff={
                int(tag): value if isinstance(value, str) else _floats(value) for tag, value in header["geotiff"]
            },
            quantization_relative_to_q50=header["quantization_relative_to_q50"],
            warnings=[str(warning) for warning in header["warnings"]],
        )
        return Answer(height, width, channels, header["type"], int(header["bit_depth"]), metadata, stream), None
    except (ValueError, TypeError, KeyError) as error:
        raise BrokenImage(
            f"{name} is damaged: it confused the decoder", "save it again with another program"
        ) from error


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _numbers(values: Any) -> tuple[float, float]:
    across, down = _floats(values)
    if not (math.isfinite(across) and math.isfinite(down)):
        raise ValueError
    return across, down


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Ended
    return data
