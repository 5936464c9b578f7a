"""Classical JPEG artifact removal; the JPEG quality is estimated from the pixels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray, to_float, to_uint8
from imaging.jpeg_table import BLOCK, STANDARD_TABLE, dct_basis
from imaging.progress import ProgressToken
from toolbox.classical.filters import Filter, guided_filter, unchanged


def shifted_jpeg(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Average shifted and recompressed copies, whose block edges differ (Nosratinia 2001)."""
    quality = jpeg_quality(pixels)
    if quality > 90:
        return unchanged
    shifts = [(dy, dx) for dy in range(0, BLOCK, 2) for dx in range(0, BLOCK, 2)]

    def filtered(tile: FloatArray) -> FloatArray:
        total = np.zeros_like(tile)
        padded = cv2.copyMakeBorder(tile, BLOCK, BLOCK, BLOCK, BLOCK, cv2.BORDER_REFLECT)
        for dy, dx in shifts:
            token.check()
            top, left = BLOCK - dy, BLOCK - dx
            moved = _compressed(padded[top:, left:], quality)
            total += moved[dy : dy + tile.shape[0], dx : dx + tile.shape[1]]
        return total / np.float32(len(shifts))

    return filtered


def guided_deblock(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Guided filter with the strength of the quantization, stronger in chroma; luma is the guide."""
    step = quantization_step(jpeg_quality(pixels))
    if step < 0.01:
        return unchanged

    def filtered(band: FloatArray) -> FloatArray:
        plane = luma(band)
        smooth = guided_filter(plane, plane, 3, (0.55 * step) ** 2)
        chroma = [guided_filter(smooth, band[:, :, c] - plane, 6, step**2) for c in range(3)]
        return np.clip(np.stack([smooth + c for c in chroma], axis=2), 0, 1)

    return filtered


def nlm_deblock(pixels: FloatArray, token: ProgressToken) -> Filter:
    """Non-local means, with the quantization error as noise."""
    from skimage.restoration import denoise_nl_means

    step = quantization_step(jpeg_quality(pixels))
    if step < 0.01:
        return unchanged
    return lambda tile: denoise_nl_means(
        tile, patch_size=5, patch_distance=7, h=0.45 * step, sigma=0.2 * step, fast_mode=True, channel_axis=-1
    )


def quantization_step(quality: int) -> float:
    """Typical quantization step of the low frequencies, for pixels in [0, 1]."""
    return float(_table(quality)[:4, :4].mean()) / BLOCK / 255 * 2


def jpeg_quality(pixels: FloatArray) -> int:
    """The libjpeg quality whose quantization table fits the block DCT best; 95 if none fits.

    The DCT coefficients of a decoded JPEG are near multiples of the table's entries (Fan & de Queiroz 2003).
    """
    rows, columns = pixels.shape[0] // BLOCK, pixels.shape[1] // BLOCK
    if rows * columns < 4:
        return 95
    chosen_places = range(0, rows * columns, max(1, rows * columns // 1500))
    corners = [(BLOCK * (place // columns), BLOCK * (place % columns)) for place in chosen_places]
    chosen = luma(np.stack([pixels[y : y + BLOCK, x : x + BLOCK] for y, x in corners])) * 255 - 128
    basis = dct_basis()
    spectrum = (basis @ chosen @ basis.T).astype(np.float32)
    best, best_error = 95, 0.16
    for quality in (*range(5, 50, 3), *range(50, 92, 4)):
        error = _misfit(spectrum, _table(quality))
        if error < best_error:
            best, best_error = quality, error
    return best


def _misfit(spectrum: FloatArray, table: FloatArray) -> float:
    """Mean distance, in quantization steps, of nonzero low-frequency coefficients to the nearest multiple."""
    steps = (spectrum / table)[:, :4, :4].reshape(-1, 16)[:, 1:]
    coarse = np.broadcast_to((table[:4, :4].ravel()[1:] > 3), steps.shape)
    quantized = (np.abs(steps) > 0.6) & coarse
    if quantized.sum() < 50:
        return 1.0
    return float(np.abs(steps - np.rint(steps))[quantized].mean())


def _table(quality: int) -> FloatArray:
    """The luma quantization table of libjpeg."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip(np.floor((STANDARD_TABLE * scale + 50) / 100), 1, 255).astype(np.float32)


def _compressed(pixels: FloatArray, quality: int) -> FloatArray:
    _, data = cv2.imencode(".jpg", to_uint8(pixels)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return to_float(decoded[:, :, ::-1])
