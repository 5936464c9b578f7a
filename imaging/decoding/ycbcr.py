"""Uncompressed YCbCr in TIFF, whose chroma is subsampled (TIFF 6.0, section 21)."""

from __future__ import annotations

from typing import Any

import numpy as np

from imaging.decoding.decoded import Samples

COEFFICIENTS, SUBSAMPLING, REFERENCE = 529, 530, 532
CCIR_601 = (299, 1000, 587, 1000, 114, 1000)
FULL_RANGE = (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)


def rgb_of_ycbcr(page: Any, data: bytes) -> Samples:
    """(H, W, 3) uint8 of a page of 8 bits; each chroma sample is repeated over its block, as in libtiff."""
    height, width = page.imagelength, page.imagewidth
    across, down = page.tags.valueof(SUBSAMPLING, (2, 2))
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    if page.bitspersample != 8 or 0 in (across, down, rows):
        raise NotImplementedError("this kind of YCbCr")
    planes = np.zeros((height, width, 3), np.uint8)
    per_plane = -(-height // rows) * -(-width // columns)
    for index, (start, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        plane, place = divmod(index, per_plane)
        top, left = (place // -(-width // columns)) * rows, (place % -(-width // columns)) * columns
        high = rows if page.is_tiled else min(rows, height - top)
        blocks = -(-high // down), -(-columns // across)
        stored = np.frombuffer(data[start : start + size], np.uint8)
        shown = planes[top : top + high, left : left + columns]
        if page.planarconfig == 1:
            shown[:] = _together(stored, blocks, across, down)[: shown.shape[0], : shown.shape[1]]
        elif plane:
            chroma = stored[: blocks[0] * blocks[1]].reshape(blocks).repeat(down, axis=0).repeat(across, axis=1)
            shown[:, :, plane] = chroma[: shown.shape[0], : shown.shape[1]]
        else:
            shown[:, :, 0] = stored[: high * columns].reshape(high, columns)[:, : shown.shape[1]]
    return _in_rgb(planes, page)


def _together(stored: Samples, blocks: tuple[int, int], across: int, down: int) -> Samples:
    """(H, W, 3) from interleaved blocks: the luma of each pixel, then Cb and Cr."""
    size = across * down
    units = stored[: blocks[0] * blocks[1] * (size + 2)].reshape(*blocks, size + 2)
    luma = units[:, :, :size].reshape(*blocks, down, across).transpose(0, 2, 1, 3)
    whole = luma.reshape(blocks[0] * down, blocks[1] * across)
    chroma = units[:, :, size:].repeat(down, axis=0).repeat(across, axis=1)
    return np.dstack([whole, chroma])


def _in_rgb(planes: Samples, page: Any) -> Samples:
    """RGB by the page's coefficients and reference black and white."""
    red, green, blue = _ratios(page, COEFFICIENTS, CCIR_601)
    black, white, *chroma = _ratios(page, REFERENCE, FULL_RANGE)
    values = planes.astype(np.float32)
    y = (values[:, :, 0] - black) * 255 / (white - black)
    cb = (values[:, :, 1] - chroma[0]) * 127 / (chroma[1] - chroma[0])
    cr = (values[:, :, 2] - chroma[2]) * 127 / (chroma[3] - chroma[2])
    r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
    g = (y - blue * b - red * r) / green
    rgb: Samples = np.rint(np.clip(np.dstack([r, g, b]), 0, 255)).astype(np.uint8)
    return rgb


def _ratios(page: Any, tag: int, default: tuple[int, ...]) -> list[float]:
    numbers = page.tags.valueof(tag)
    numbers = numbers if isinstance(numbers, tuple) and len(numbers) == len(default) else default
    return [over / under for over, under in zip(numbers[::2], numbers[1::2], strict=True)]
