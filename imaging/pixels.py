"""Storage of pixels: in memory, or beyond the memory budget in memory-mapped temporary files.

A tensor in such a file is used like any other. Code that goes over a whole image does so in `row_chunks`, so that
only one chunk of it has to be in memory. The chunks do not depend on where the pixels are stored, so that the budget
changes no result.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from imaging.device import system_memory
from imaging.errors import ResourceError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MEMORY_VARIABLE = "RESTORE4K_MEMORY"
GIGABYTE = 1 << 30
PROGRAM_BYTES = 1 * GIGABYTE
"""The part of the budget for Python, torch, the models, a tile and a row chunk."""
ALIVE = 7
"""The largest number of image-sized tensors that a run holds at once, one of them only for pictures that are not in
sRGB."""
SMALLEST_FILE = 4 << 20
"""Bytes up to which a tensor is always kept in memory."""
CHUNK_PIXELS, BAND_PIXELS = 2_000_000, 1 << 17
MOST_GIGABYTES = 1e9
"""Stands for infinity."""

_mappings: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()
"""The mapped files in use, by the address of the tensor storage on each."""


_limits: list[int] = []
"""Budgets of `memory_limited` in bytes, the innermost last."""


@contextmanager
def memory_limited(gigabytes: float | None) -> Iterator[None]:
    """Set the memory budget of this process inside the block; None changes nothing."""
    if gigabytes is None:
        yield
        return
    _limits.append(round(min(gigabytes, MOST_GIGABYTES) * GIGABYTE))
    try:
        yield
    finally:
        _limits.pop()


def memory_budget() -> int:
    """Bytes that the process may use: from `memory_limited`, else RESTORE4K_MEMORY, else half of the free memory."""
    if _limits:
        return _limits[-1]
    wanted = os.environ.get(MEMORY_VARIABLE)
    if not wanted:
        return _free_bytes() // 2
    try:
        gigabytes = float(wanted)
    except ValueError:
        gigabytes = math.nan
    if not gigabytes > 0:
        raise ResourceError(
            f"{MEMORY_VARIABLE}={wanted!r} is not a positive number of gigabytes", "set it to one such as 2.5"
        )
    return round(min(gigabytes, MOST_GIGABYTES) * GIGABYTE)


def empty(shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised tensor (float32 by default), in a file if it is larger than its share of the budget.

    Raises `ResourceError` if the disk is full.
    """
    import torch

    dtype = dtype or torch.float32
    size = math.prod(shape) * dtype.itemsize
    with torch.inference_mode(False):  # so that it can also be written outside inference mode
        if size <= SMALLEST_FILE or size <= (memory_budget() - PROGRAM_BYTES) // ALIVE or os.name == "nt":
            return torch.empty(shape, dtype=dtype)
        return _in_file(size // dtype.itemsize, dtype).reshape(shape)


def is_in_file(pixels: Tensor) -> bool:
    """Whether the storage of a tensor is in a file."""
    return pixels.device.type == "cpu" and pixels.untyped_storage().data_ptr() in _mappings


def row_chunks(*pictures: Tensor) -> Iterator[slice]:
    """Slices of a few rows of (C, H, W) images of one height; after each, the pages of mapped files are dropped."""
    height, width = pictures[0].shape[-2], max(picture.shape[-1] for picture in pictures)
    rows = max(1, CHUNK_PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(height, top + rows))
        for picture in pictures:
            drop_pages(picture)


def bands(rows: slice, width: int) -> Iterator[slice]:
    """Parts of a row chunk that are so small that a plane of one stays in the processor's cache."""
    at_once = max(1, BAND_PIXELS // width)
    for top in range(rows.start, rows.stop, at_once):
        yield slice(top, min(rows.stop, top + at_once))


def copied(pixels: Tensor) -> Tensor:
    """A copy of a (C, H, W) tensor, in a file if it is larger than its share of the budget."""
    copy = empty(tuple(pixels.shape), pixels.dtype)
    for rows in row_chunks(pixels, copy):
        copy[:, rows] = pixels[:, rows]
    return copy


def drop_pages(pixels: Tensor) -> None:
    """Release the memory of a tensor whose storage is in a file; its values stay there."""
    if is_in_file(pixels) and hasattr(mmap, "MADV_DONTNEED"):
        _mappings[pixels.untyped_storage().data_ptr()].madvise(mmap.MADV_DONTNEED)


def _in_file(count: int, dtype: torch.dtype) -> Tensor:
    """`count` numbers in a temporary file without a name, which disappears with the tensor or with the process."""
    import torch

    # Not /tmp, which is often in memory.
    folder = os.environ.get("TMPDIR") or ("/var/tmp" if Path("/var/tmp").is_dir() else None)
    size = count * dtype.itemsize
    try:
        with tempfile.TemporaryFile(prefix="restore4k-", dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # writing to a page without disk space kills the process
            else:
                file.truncate(size)
            mapping = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise ResourceError(
            f"no space for {size >> 20} MiB of pixels in {folder or tempfile.gettempdir()}: {error.strerror}",
            f"free some, set TMPDIR to another folder, or raise {MEMORY_VARIABLE}",
        ) from error
    pixels = torch.frombuffer(mapping, dtype=dtype)
    _mappings[pixels.data_ptr()] = mapping
    return pixels


def _free_bytes() -> int:
    """Memory that is available in the system, and in the control group of this process if it has one."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return system_memory() or 8 * GIGABYTE
    group = Path("/sys/fs/cgroup")
    try:
        used, most = ((group / f"memory.{name}").read_text().strip() for name in ("current", "max"))
    except OSError:
        return free
    return free if most == "max" else min(free, max(0, int(most) - int(used)))
