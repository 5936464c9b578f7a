"""Where networks run."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import TYPE_CHECKING

from imaging.errors import ResourceError

if TYPE_CHECKING:
    import torch

DEVICE_VARIABLE = "RESTORE4K_DEVICE"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Of glibc's malloc.h."""
LARGEST_KEPT = 256 << 20


@cache
def best_device() -> torch.device:
    """The device named by RESTORE4K_DEVICE; otherwise CUDA, Apple's GPU or the CPU, the first that is there.

    Raises `ResourceError` for a name that torch does not know or a device that is not there.
    """
    import torch

    wanted = os.environ.get(DEVICE_VARIABLE)
    if wanted:
        try:
            device = torch.device(wanted)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ResourceError(
                f"{DEVICE_VARIABLE}={wanted!r} is not usable here: {error}",
                "unset it, or name cpu, cuda or mps",
            ) from error
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@cache
def device_memory() -> int:
    """Bytes that the best device has in all: of the graphics card, or of the machine."""
    import torch

    device = best_device()
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else sys.maxsize


def bfloat16_is_fast(device: torch.device) -> bool:
    """False on a CPU without instructions for it: up to a hundred times slower there."""
    import torch

    able = torch.cpu.get_capabilities() if device.type == "cpu" else {"bf16": True}
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def bfloat16_where_fast(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16, switched off where that is slow."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast(device))


@cache
def keep_buffers() -> None:
    """Let glibc give the buffers of one layer to the next one, rather than fetch each anew from the system.

    By default it fetches those beyond 32 MB page by page. Threads that begin later share one heap, because one of
    their own ends at 64 MB.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_KEPT)
        mallopt(M_ARENA_MAX, 1)


def release_memory() -> None:
    """Give memory of models that nobody holds any more back to the device; loads nothing."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
