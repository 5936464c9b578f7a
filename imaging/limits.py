"""The largest file and image that are read."""

from __future__ import annotations

from dataclasses import dataclass

MIN_SIDE = 8
"""Minimum pixels of a side of an image."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest file and image that are read, and whether links are followed."""

    max_bytes: int = 512 << 20
    max_pixels: int = 178_956_970
    """The default is Pillow's own limit."""
    follow_links: bool = True
    """Whether a path may lead through symbolic links. A server that has checked a path does not follow them later."""

    @property
    def decoder_bytes(self) -> int:
        """Address space that decoding may take: the file, the pixels in 16 bit with alpha, and two copies of them."""
        return (1 << 30) + 2 * self.max_bytes + 24 * self.max_pixels


def cpu_seconds(pixels: int, size: int) -> float:
    """CPU time that decoding a file of `size` bytes may take: about ten times what the slowest format needs.

    >>> cpu_seconds(12_000_000, 6_000_000)
    9.0
    """
    return 6 + pixels / 5e6 + size / 10e6


def wall_seconds(pixels: int, size: int) -> float:
    """Time that decoding may take on a busy machine; where supported, the limit of CPU time applies earlier."""
    return 30 + 5 * cpu_seconds(pixels, size)
