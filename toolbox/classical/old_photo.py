"""Classical old-photo restoration: scratch detection and inpainting, correction of faded tones and yellowing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.colour import luma
from imaging.convert import FloatArray, to_uint8
from imaging.progress import ProgressToken

Mask = NDArray[np.bool_]
WORKING_SIDE = 1024
"""Long side at which large images are searched for scratches, which are then a few pixels wide."""
DIRECTIONS = 32
SEGMENT_LENGTH = 31
"""Length in pixels of the line segments that the detector searches."""
LEAST_SHARE = 0.9
"""Minimum share of a segment's pixels that differ from both sides."""
SIDE_DISTANCE = 4
"""Distance in pixels from the centre line of a scratch to the pixels that it is compared with."""
STANDS_OUT = 0.14
WHITE, BLACK, NEUTRAL = 0.75, 0.14, 0.12
"""Limits of luma (white, black) and of the spread of the channels where the emulsion is missing."""
SURE_LENGTH, LEAST_LENGTH = 0.25, 0.08
"""Minimum length relative to the shorter side: of one scratch, and of the others in an image with one."""
LEAST_SLIMNESS = 8.0
"""Minimum length / width of a scratch."""
FADED = 0.25
"""Minimum unused share of the tonal range of a faded image."""
MOST_GAIN = 1.5


@dataclass(frozen=True, slots=True)
class Age:
    """Measurements that indicate an old photo."""

    scratched: float
    """Share of the image that is scratched, 0..1."""
    toned: float
    """Saturation of a monochrome image's single hue; 0 for grey and for colour images."""
    monochrome: bool
    faded: float
    """Unused share of the range from black to white, 0..1."""


def signs_of_age(pixels: FloatArray) -> Age:
    """The measurements of (H, W, 3) pixels in [0, 1]."""
    small = _reduced(pixels)
    monochrome, toned = _toning(small)
    low, high = np.percentile(luma(small), (1, 99))
    return Age(float(_scratches(small).mean()), toned, monochrome, float(1 - (high - low)))


def scratch_inpaint(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Inpaint the pixels of `scratch_mask` (Telea 2004); an image without scratches stays unchanged."""
    token.report(0.0)
    mask = scratch_mask(pixels)
    token.report(0.5)
    if not mask.any():
        return pixels
    radius = 3 * max(1, round(max(pixels.shape[:2]) / WORKING_SIDE))
    filled = cv2.inpaint(to_uint8(pixels), mask.astype(np.uint8), radius, cv2.INPAINT_TELEA)
    token.report(1.0)
    # Inpainting works in 8 bit, so only scratched pixels are taken from its result.
    return np.where(mask[:, :, None], filled.astype(np.float32) / 255, pixels)


def tone_restore(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Stretch faded tones to the full range, and remove the hue of a monochrome image with a warm hue.

    The first and the last percentile of luma become black and white, with a gain of at most 1.5. An image that is
    neither faded nor toned stays unchanged.
    """
    token.report(0.0)
    monochrome, toned = _toning(_reduced(pixels))
    if monochrome and toned > 0:
        pixels = np.repeat(luma(pixels)[:, :, None], 3, axis=2)
    low, high = (float(value) for value in np.percentile(luma(pixels), (1, 99)))
    if 1 - (high - low) < FADED or high - low < 1e-3:
        return pixels
    gain = min(MOST_GAIN, 1 / (high - low))
    # If the gain is limited, both ends of the range keep the same margin.
    black = (1 - gain * (high - low)) * low / max(low + 1 - high, 1e-3)
    token.report(1.0)
    return np.asarray(np.clip((pixels - low) * gain + black, 0, 1), np.float32)


def scratch_and_tone(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Both corrections: scratches first, because stretched tones would create new black and white pixels."""
    return tone_restore(scratch_inpaint(pixels, token.part(0.0, 0.7)), token.part(0.7, 1.0))


def scratch_mask(pixels: FloatArray) -> Mask:
    """(H, W) mask of thin, long, straight, white or black lines that differ from both sides.

    With six scratches drawn on each of 12 photos, half of the visible ones are found (a gain of 3.8 dB). One clean
    photo in ten contains such lines (masts, letters), which are inpainted too; so only old photos are treated.
    """
    small = _reduced(pixels)
    found = _scratches(small)
    if small.shape == pixels.shape:
        return found
    enlarged = cv2.resize(found.astype(np.float32), pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged > 0.3)


def _scratches(pixels: FloatArray) -> Mask:
    """The mask at the size of the search."""
    grey = cv2.GaussianBlur(luma(pixels), (0, 0), 0.7)
    shape = grey.shape
    mask = np.zeros(shape, bool)
    if min(shape) < 3 * SEGMENT_LENGTH:
        return mask
    # The channel spread of a monochrome image carries no information: blur tints thin lines like the paper.
    toned, _ = _toning(pixels)
    neutral = toned | (np.ptp(cv2.GaussianBlur(pixels, (0, 0), 0.7), axis=2) < NEUTRAL)
    white, black = max(WHITE, float(np.percentile(grey, 90))), min(BLACK, float(np.percentile(grey, 10)))
    for plane, extreme in ((grey, neutral & (grey > white)), (1 - grey, neutral & (grey < black))):
        for step in range(DIRECTIONS):
            mask |= _lines(plane, extreme, np.pi * step / DIRECTIONS)
    if not _long_and_thin(mask, SURE_LENGTH * min(shape)).any():
        return np.zeros(shape, bool)
    mask = _long_and_thin(mask, LEAST_LENGTH * min(shape))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool))


def _lines(plane: FloatArray, extreme: Mask, angle: float) -> Mask:
    """Pixels on segments of one direction along which nearly all pixels are brighter than both sides."""
    across = np.array([-np.sin(angle), np.cos(angle)])
    beside = [_shifted(plane, sign * SIDE_DISTANCE * across) for sign in (1, -1)]
    stands_out = (plane - np.maximum(*beside) > STANDS_OUT) & extreme
    line = _line_kernel(angle)
    share = cv2.filter2D(stands_out.astype(np.float32), -1, line, borderType=cv2.BORDER_CONSTANT)
    middles = (share > LEAST_SHARE).astype(np.uint8)
    return np.asarray(cv2.dilate(middles, (line > 0).astype(np.uint8)).astype(bool) & stands_out)


def _long_and_thin(mask: Mask, least: float) -> Mask:
    """The components that are long and thin."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)), connectivity=8
    )
    length = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    kept = (length >= least) & (length * length >= LEAST_SLIMNESS * stats[:, cv2.CC_STAT_AREA])
    kept[0] = False
    return np.asarray(kept[labels] & mask)


def _toning(pixels: FloatArray) -> tuple[bool, float]:
    """Whether an image is monochrome, and the saturation of its hue."""
    cb, cr = pixels[:, :, 2] - luma(pixels), pixels[:, :, 0] - luma(pixels)
    points = np.stack([cb.ravel(), cr.ravel()])
    mean = points.mean(1)
    strength = float(np.hypot(*mean))
    if strength < 0.01:
        return bool(np.sqrt(np.square(points).sum(0).mean()) < 0.012), 0.0
    across = np.array([-mean[1], mean[0]]) / strength
    other_hues = float(np.sqrt(np.square(across @ points).mean()))
    against = float((points.T @ mean < 0).mean())
    is_warm = mean[1] > 0 > mean[0]
    monochrome = other_hues < 0.012 and against < 0.02 and bool(is_warm)
    return monochrome, strength if monochrome else 0.0


def _line_kernel(angle: float) -> FloatArray:
    kernel = np.zeros((SEGMENT_LENGTH, SEGMENT_LENGTH), np.float32)
    middle = SEGMENT_LENGTH // 2
    end = middle * np.array([np.cos(angle), np.sin(angle)])
    first, second = (tuple(round(middle + sign * float(value)) for value in end) for sign in (-1, 1))
    cv2.line(kernel, first, second, 1.0, 1)
    return kernel / kernel.sum()


def _shifted(plane: FloatArray, by: NDArray[np.float64]) -> FloatArray:
    matrix = np.array([[1, 0, by[0]], [0, 1, by[1]]])
    moved: FloatArray = cv2.warpAffine(plane, matrix, plane.shape[::-1], borderMode=cv2.BORDER_REFLECT)
    return moved


def _reduced(pixels: FloatArray) -> FloatArray:
    height, width = pixels.shape[:2]
    scale = WORKING_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    reduced: FloatArray = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return reduced
