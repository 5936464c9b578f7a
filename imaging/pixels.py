"""Where pixels live: in memory, or beyond the budget in temporary files that the system may write out at any time.

A tensor in such a file is used like any other. Whoever goes over a whole picture does so in `row_chunks`, so that
only a row chunk of it has to be in memory; the same row chunks wherever it lives, so that the budget changes no
result.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imaging.errors import ResourceError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MEMORY_VARIABLE = "RESTORE4K_MEMORY"
GIGABYTE = 1 << 30
PROGRAM_BYTES = 1 * GIGABYTE
"""Of the budget for Python, torch, the models, a tile and a row chunk."""
ALIVE = 6
"""Tensors of the size of the picture that a run holds at once, at most."""
SMALLEST_FILE = 4 << 20
"""Smaller tensors always live in memory."""
CHUNK_PIXELS = 2_000_000
DONT_NEED = 4
"""MADV_DONTNEED."""


_limits: list[int] = []
"""Budgets of `memory_limited` in bytes, the innermost last."""


@contextmanager
def memory_limited(gigabytes: float | None) -> Iterator[None]:
    """Set the memory budget of this process inside the block; None changes nothing."""
    if gigabytes is None:
        yield
        return
    _limits.append(round(gigabytes * GIGABYTE))
    try:
        yield
    finally:
        _limits.pop()


def memory_budget() -> int:
    """Bytes that the process may use, in this order: `memory_limited`, RESTORE4K_MEMORY, half of the free memory."""
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
        raise ResourceError(f"{MEMORY_VARIABLE}={wanted!r} is no number of gigabytes", "give one such as 2.5")
    return round(min(gigabytes, 1e9) * GIGABYTE)


def empty(shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """A tensor (float32) to be filled, in a file where it is larger than its share of the budget.

    Raises `ResourceError` where the disk is full.
    """
    import torch

    dtype = dtype or torch.float32
    size = math.prod(shape) * dtype.itemsize
    with torch.inference_mode(False):  # so that it may be written to outside as well
        if size <= SMALLEST_FILE or size <= (memory_budget() - PROGRAM_BYTES) // ALIVE or os.name == "nt":
            return torch.empty(shape, dtype=dtype)
        return _in_file(size // dtype.itemsize, dtype).reshape(shape)


def is_in_file(pixels: Tensor) -> bool:
    """Whether a tensor, or what it is a view of, lives in a file."""
    return pixels.device.type == "cpu" and pixels.untyped_storage().filename is not None


def row_chunks(*pictures: Tensor) -> Iterator[slice]:
    """Rows of (C, H, W) pictures of one height, a few at a time; those behind need no memory any more."""
    height, width = pictures[0].shape[-2], max(picture.shape[-1] for picture in pictures)
    rows = max(1, CHUNK_PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(height, top + rows))
        for picture in pictures:
            drop_pages(picture)


def copied(pixels: Tensor) -> Tensor:
    """A (C, H, W) tensor of one's own."""
    copy = empty(tuple(pixels.shape), pixels.dtype)
    for rows in row_chunks(pixels, copy):
        copy[:, rows] = pixels[:, rows]
    return copy


def drop_pages(pixels: Tensor) -> None:
    """Say that a tensor is not needed in memory for now; what lives in a file stays there, the rest is left alone."""
    if sys.platform == "linux" and is_in_file(pixels):
        storage = pixels.untyped_storage()
        ctypes.CDLL(None).madvise(
            ctypes.c_void_p(storage.data_ptr()), ctypes.c_size_t(storage.nbytes()), ctypes.c_int(DONT_NEED)
        )


def _in_file(count: int, dtype: torch.dtype) -> Tensor:
    """So many numbers in a file without a name, which is gone with its last user, however the process ends."""
    import torch

    # Not /tmp, which is often memory itself.
    folder = os.environ.get("TMPDIR") or ("/var/tmp" if Path("/var/tmp").is_dir() else None)
    size = count * dtype.itemsize
    try:
        with tempfile.TemporaryFile(prefix="restore4k-", dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a page that finds no place later would end the process
            return torch.from_file(f"/dev/fd/{file.fileno()}", shared=True, size=count, dtype=dtype)
    except OSError as error:
        raise ResourceError(
            f"no place for {size >> 20} MiB of pixels in {folder or tempfile.gettempdir()}: {error.strerror}",
            f"free some of it, name another folder in TMPDIR, or raise {MEMORY_VARIABLE}",
        ) from error


def _free_bytes() -> int:
    """Memory that a new program could have, as the system and the control group that holds this process say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 * GIGABYTE
    group = Path("/sys/fs/cgroup")
    try:
        used, most = ((group / f"memory.{name}").read_text().strip() for name in ("current", "max"))
    except OSError:
        return free
    return free if most == "max" else min(free, max(0, int(most) - int(used)))
