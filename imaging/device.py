"""The devices that networks run on, and their memory."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING

from imaging.errors import ResourceError

if TYPE_CHECKING:
    import torch

DEVICE_VARIABLE = "RESTORE4K_DEVICE"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Constants of glibc's malloc.h."""
LARGEST_KEPT = 256 << 20
"""Bytes of the largest buffer that malloc takes from the heap."""

_device_index: ContextVar[int] = ContextVar("device_index", default=0)
"""The index in `devices` of the device that this thread uses."""


@cache
def devices() -> tuple[torch.device, ...]:
    """The devices in RESTORE4K_DEVICE, separated by commas; by default all CUDA devices, Apple's GPU, or the CPU.

    Raises `ResourceError` for a name that torch does not know, or a device that does not exist.
    """
    import torch

    wanted = os.environ.get(DEVICE_VARIABLE)
    if wanted:
        return tuple(_named(name.strip()) for name in wanted.split(","))
    if torch.cuda.is_available():
        return tuple(torch.device("cuda", index) for index in range(torch.cuda.device_count()))
    return (torch.device("mps" if torch.backends.mps.is_available() else "cpu"),)


def best_device() -> torch.device:
    """The first of the devices, or the one that `on_device` set for this thread. Raises as `devices`."""
    return devices()[_device_index.get()]


@contextmanager
def on_device(device_index: int) -> Iterator[None]:
    """Make this thread use the device of that index inside the block."""
    before = _device_index.set(device_index)
    try:
        yield
    finally:
        _device_index.reset(before)


def device_index() -> int:
    """The index of the device that this thread uses."""
    return _device_index.get()


def _named(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ResourceError(
            f"{DEVICE_VARIABLE}={name!r} is not usable here: {error}", "unset it, or name cpu, cuda or mps"
        ) from error
    return device


@cache
def device_memory() -> int:
    """Total memory of the best device in bytes: of the GPU, or of the machine."""
    import torch

    device = best_device()
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return system_memory() or sys.maxsize


def system_memory() -> int | None:
    """Total memory of the machine in bytes; None on systems that do not report it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; a CPU without them is up to a hundred times slower."""
    import torch

    able = torch.cpu.get_capabilities() if device.type == "cpu" else {"bf16": True}
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def teraflops(device: torch.device) -> float | None:
    """Approximate convolution speed of a CPU in 10^12 operations per second; None for other devices (no limit).

    Derived from threads and instruction set only, so that runs do not depend on the load of the machine.
    """
    import torch

    if device.type != "cpu":
        return None
    return torch.get_num_threads() * (0.17 if bfloat16_is_fast(device) else 0.085)


def bfloat16_where_fast(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16, disabled where `bfloat16_is_fast` is false."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast(device))


@cache
def keep_buffers() -> None:
    """Make glibc's malloc reuse the buffers of one layer for the next, instead of mapping each anew.

    By default it maps every buffer beyond 32 MB, page by page. Threads share one heap, because a heap per thread is
    limited to 64 MB. mallopt has no wrapper in Python; the environment variables that set the same options are only
    read when the process starts.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_KEPT)
        mallopt(M_ARENA_MAX, 1)


def release_memory() -> None:
    """Return the cached memory of deleted models to the CUDA device; does not import torch."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
