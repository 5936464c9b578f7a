"""Resource limits that the decoding process, and no other, sets on itself."""

from __future__ import annotations

from contextlib import suppress

from imaging.limits import Limits, cpu_seconds

_request_bytes: list[int] = []
"""Size of the file that the decoding process works on; empty in other processes."""


def begin_request(limits: Limits, size: int) -> None:
    """Limit the memory for a file of `size` bytes, and the CPU time until its number of pixels is known."""
    _request_bytes[:] = [size]
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limits; the parent's time limit remains
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limits.decoder_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
    allow_pixels(0)


def allow_pixels(pixels: int) -> None:
    """Limit the CPU time to that of decoding this number of pixels; beyond it the system kills the process."""
    if not _request_bytes:
        return
    with suppress(ImportError, ValueError, OSError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = used.ru_utime + used.ru_stime + cpu_seconds(pixels, _request_bytes[0])
        resource.setrlimit(resource.RLIMIT_CPU, (round(seconds) + 1, resource.getrlimit(resource.RLIMIT_CPU)[1]))
