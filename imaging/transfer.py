"""Asynchronous copies between CPU and GPU in bands of pinned memory; the CPU copies one band during the transfer of
others.

A copy from or to memory that is not pinned would wait for all queued work of the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BAND_BYTES = 16 << 20


def to_device(pixels: Tensor, device: torch.device) -> Tensor:
    """Copy (..., H, W) float32 pixels to a device."""
    import torch

    if device.type != "cuda":
        return pixels.to(device, copy=True)
    there = torch.empty(pixels.shape, device=device)
    for band in _bands(pixels):
        pinned = torch.empty(pixels[..., band, :].shape, pin_memory=True).copy_(pixels[..., band, :])
        there[..., band, :].copy_(pinned, non_blocking=True)
    return there


def to_cpu(pixels: Tensor) -> list[tuple[slice, Callable[[], Tensor]]]:
    """Start copying (..., H, W) float32 pixels to the CPU; returns each band's rows and a function that awaits it."""
    return [(band, _coming(pixels[..., band, :])) for band in _bands(pixels)]


def _coming(pixels: Tensor) -> Callable[[], Tensor]:
    import torch

    if pixels.device.type != "cuda":
        here = pixels.cpu()
        return lambda: here
    pinned = torch.empty(pixels.shape, pin_memory=True).copy_(pixels, non_blocking=True)
    arrived = torch.cuda.current_stream(pixels.device).record_event()

    def wait() -> Tensor:
        arrived.synchronize()
        return pinned

    return wait


def _bands(pixels: Tensor) -> Iterator[slice]:
    """Slices of a few rows."""
    height = pixels.shape[-2]
    rows = max(1, BAND_BYTES * height // max(4 * pixels.numel(), 1))
    return (slice(top, min(height, top + rows)) for top in range(0, height, rows))
