"""Old photographs: what shows their age, scratches painted over, faded tones and yellowed paper put right."""

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
"""Larger pictures are searched for scratches at this long side; a scratch is a few pixels wide there."""
DIRECTIONS = 32
ALONG = 31
"""Pixels of the segments that scratches are made of."""
UNBROKEN = 0.9
"""Share of a segment's pixels that stand out."""
CO_DEGRADATIONS = 4
"""Pixels from a scratch's middle to what is beside it."""
STANDS_OUT = 0.14
WHITE, BLACK, NEUTRAL = 0.75, 0.14, 0.12
"""Where emulsion is gone there is bare paper or nothing: luma and spread of the channels."""
SURE_LENGTH, LEAST_LENGTH = 0.25, 0.08
"""Of the shorter side of the picture: what one scratch must have, and what the others have in a picture with one."""
SLIMNESS = 8.0
"""Least length in widths."""
FADED = 0.25
"""Share of the range of tones from which a picture counts as faded when it is not used."""
MOST_GAIN = 1.5


@dataclass(frozen=True, slots=True)
class Age:
    """What shows that a photograph is old."""

    scratched: float
    """Share of the picture under scratches, 0..1."""
    toned: float
    """Strength of the one hue that a picture without colours has, 0 for grey and for colour pictures."""
    monochrome: bool
    faded: float
    """Share of the range from black to white that is not used, 0..1."""


def signs_of_age(pixels: FloatArray) -> Age:
    """Of (H, W, 3) pixels in [0, 1]."""
    small = _reduced(pixels)
    monochrome, toned = _toning(small)
    low, high = np.percentile(luma(small), (1, 99))
    return Age(float(_scratches(small).mean()), toned, monochrome, float(1 - (high - low)))


def scratch_inpaint(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Fill what `scratch_mask` finds from its surroundings (Telea 2004); without scratches nothing changes."""
    token.report(0.0)
    mask = scratch_mask(pixels)
    token.report(0.5)
    if not mask.any():
        return pixels
    radius = 3 * max(1, round(max(pixels.shape[:2]) / WORKING_SIDE))
    filled = cv2.inpaint(to_uint8(pixels), mask.astype(np.uint8), radius, cv2.INPAINT_TELEA)
    token.report(1.0)
    # Only what lies under scratches is taken from the 8 bits that the algorithm knows.
    return np.where(mask[:, :, None], filled.astype(np.float32) / 255, pixels)


def tone_restore(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Faded tones over the whole range again, and a picture of one warm hue grey; colours stay colours.

    The first and the last percent of luma become black and white, by a gain of at most 1.5. A picture that is neither
    faded nor toned stays as it is.
    """
    token.report(0.0)
    monochrome, toned = _toning(_reduced(pixels))
    if monochrome and toned > 0:
        pixels = np.repeat(luma(pixels)[:, :, None], 3, axis=2)
    low, high = (float(value) for value in np.percentile(luma(pixels), (1, 99)))
    if 1 - (high - low) < FADED or high - low < 1e-3:
        return pixels
    gain = min(MOST_GAIN, 1 / (high - low))
    # What the gain does not fill is left free at both ends alike.
    black = (1 - gain * (high - low)) * low / max(low + 1 - high, 1e-3)
    token.report(1.0)
    return np.asarray(np.clip((pixels - low) * gain + black, 0, 1), np.float32)


def scratch_and_tone(pixels: FloatArray, token: ProgressToken) -> FloatArray:
    """Both: scratches first, since stretched tones would make new extremes."""
    return tone_restore(scratch_inpaint(pixels, token.part(0.0, 0.7)), token.part(0.7, 1.0))


def scratch_mask(pixels: FloatArray) -> Mask:
    """(H, W): where thin, long, straight lines of bare white or black stand out from both their sides.

    Of six scratches drawn on each of 12 photos half of what stands out is found (3.8 dB gained). One clean photo in
    ten has such lines by nature (masts, letters): these go too, which is why only old photos are treated.
    """
    small = _reduced(pixels)
    found = _scratches(small)
    if small.shape == pixels.shape:
        return found
    enlarged = cv2.resize(found.astype(np.float32), pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged > 0.3)


def _scratches(pixels: FloatArray) -> Mask:
    """The same at the size that is searched."""
    grey = cv2.GaussianBlur(luma(pixels), (0, 0), 0.7)
    shape = grey.shape
    mask = np.zeros(shape, bool)
    if min(shape) < 3 * ALONG:
        return mask
    # In a picture of one hue, colour says nothing: the blur brings the paper's tone into thin lines.
    toned, _ = _toning(pixels)
    neutral = toned | (np.ptp(cv2.GaussianBlur(pixels, (0, 0), 0.7), axis=2) < NEUTRAL)
    white, black = max(WHITE, float(np.percentile(grey, 90))), min(BLACK, float(np.percentile(grey, 10)))
    for plane, extreme in ((grey, neutral & (grey > white)), (1 - grey, neutral & (grey < black))):
        for step in range(DIRECTIONS):
            mask |= _lines(plane, extreme, np.pi * step / DIRECTIONS)
    if not _long_and_slim(mask, SURE_LENGTH * min(shape)).any():
        return np.zeros(shape, bool)
    mask = _long_and_slim(mask, LEAST_LENGTH * min(shape))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool))


def _lines(plane: FloatArray, extreme: Mask, angle: float) -> Mask:
    """Pixels on segments of one direction nearly all of whose pixels are brighter than what is on both sides."""
    across = np.array([-np.sin(angle), np.cos(angle)])
    beside = [_shifted(plane, sign * CO_DEGRADATIONS * across) for sign in (1, -1)]
    stands_out = (plane - np.maximum(*beside) > STANDS_OUT) & extreme
    line = _line_kernel(angle)
    share = cv2.filter2D(stands_out.astype(np.float32), -1, line, borderType=cv2.BORDER_CONSTANT)
    middles = (share > UNBROKEN).astype(np.uint8)
    return np.asarray(cv2.dilate(middles, (line > 0).astype(np.uint8)).astype(bool) & stands_out)


def _long_and_slim(mask: Mask, least: float) -> Mask:
    """The components that are long, and slim for their length."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)), connectivity=8
    )
    length = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    kept = (length >= least) & (length * length >= SLIMNESS * stats[:, cv2.CC_STAT_AREA])
    kept[0] = False
    return np.asarray(kept[labels] & mask)


def _toning(pixels: FloatArray) -> tuple[bool, float]:
    """Whether a picture has no colours, and how strong its one hue is."""
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
    kernel = np.zeros((ALONG, ALONG), np.float32)
    middle = ALONG // 2
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
