"""BMP files whose channels are given by bit masks of any layout."""

from __future__ import annotations

import numpy as np

from imaging.decoding.decoded import Samples

BITFIELDS, ALPHA_BITFIELDS = 3, 6
MASKS = 54
"""Offset of the masks, in the header or after a short one."""
HEADER_WITH_ALPHA = 56


def masked_bmp(data: bytes, width: int, height: int) -> Samples | None:
    """(H, W, channels) uint8, or uint16 where a channel has more than 8 bits; None for another or truncated BMP."""
    start, header, compression = (int.from_bytes(data[at : at + 4], "little") for at in (10, 14, 30))
    bits = int.from_bytes(data[28:30], "little")
    if compression not in (BITFIELDS, ALPHA_BITFIELDS) or bits not in (16, 32):
        return None
    has_alpha = header >= HEADER_WITH_ALPHA or compression == ALPHA_BITFIELDS
    masks = [int(one) for one in np.frombuffer(data[MASKS : MASKS + 16], "<u4")][: 4 if has_alpha else 3]
    masks = masks if len(masks) == 3 or (masks and masks[-1]) else masks[:3]
    across = -(-width * bits // 32) * 4 // (bits // 8)
    stored = np.frombuffer(data[start : start + across * height * bits // 8], f"<u{bits // 8}")
    if len(masks) < 3 or not all(masks) or stored.size < across * height:
        return None
    values = stored.reshape(height, across)[:, :width].astype(np.uint64)
    if int.from_bytes(data[22:26], "little", signed=True) > 0:
        values = values[::-1]
    kind = np.uint8 if max(mask.bit_count() for mask in masks) <= 8 else np.uint16
    whole = int(np.iinfo(kind).max)
    channels = []
    for mask in masks:
        lowest = mask & -mask
        most = mask // lowest
        channels.append((((values & mask) // lowest * whole + most // 2) // most).astype(kind))
    return np.stack(channels, axis=2)
