"""Consistency of a result with its input: everything that changed must be what the task removes.

No-reference quality rewards invented content; consistency penalises it. For each task the part of the change that
its degradation cannot explain is measured as an error and mapped to [0, 1], so that the original image scores 1 as
the result of its own degraded version.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imaging.colour import luma
from imaging.convert import FloatArray, to_numpy
from imaging.image import Image
from imaging.jpeg_table import STANDARD_TABLE
from imaging.pixels import row_chunks
from imaging.resizing import resize
from iqa.crops import crops_of, cut, overview
from iqa.errors import SizesDiffer
from iqa.handcrafted.compression import dct_blocks, quantized_grid
from toolbox.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

Pair: TypeAlias = tuple[FloatArray, FloatArray]
"""The same patch of the input and of the result, (h, w, 3) in [0, 1]."""

MOST_PIXELS = 1_000_000
"""Larger images are compared on nine crops."""
OVERVIEW = 256
KERNEL = 31
"""Side of the largest blur kernel that is estimated, in pixels."""
DEBLURRED_CROPS = 4
"""Crops on which a blur kernel is estimated."""


def consistency(task: Task, before: Image, after: Image) -> float:
    """Consistency of `after`, the result of `task`, with `before`, in [0, 1]; 1 is full consistency.

    Raises `SizesDiffer` if the sizes do not fit: super-resolution enlarges, all other tasks keep the size.
    """
    same = (before.width, before.height) == (after.width, after.height)
    if task is Task.SUPER_RESOLUTION:
        if after.width < before.width or after.height < before.height:
            raise SizesDiffer(f"{before.width}x{before.height} was not enlarged: {after.width}x{after.height}")
        return _reduced(before, after)
    if not same:
        raise SizesDiffer(
            f"{task.value} made {after.width}x{after.height} of {before.width}x{before.height}",
            "resize one of them first",
        )
    return min(part(before, after) for part in PARTS[task])


def _reduced(before: Image, after: Image) -> float:
    """Downscaled to the size of the input, the result must equal it (back-projection), except for noise and
    compression, which a super-resolution network may remove too.
    """
    reduced = resize(after.pixels, before.height, before.width)
    same = _same(before, reduced)
    if same == 1:
        return same
    return max(same, min(part(before, Image(reduced)) for part in PARTS[Task.DENOISING]))


def _same(before: Image, reduced: Tensor) -> float:
    squares = sum(
        float((reduced[:, rows] - before.pixels[:, rows]).square().sum())
        for rows in row_chunks(reduced, before.pixels)
    )
    return _score(squares / reduced.numel(), worst_db=20, best_db=42)


def _small(before: Image, after: Image) -> float:
    """Details of a face may change, but not the face: both images must agree at an eighth of the size."""
    height, width = max(1, before.height // 8), max(1, before.width // 8)
    difference = resize(after.pixels, height, width) - resize(before.pixels, height, width)
    return _score(float(difference.square().mean()), worst_db=18, best_db=32)


def _low_pass(before: Image, after: Image) -> float:
    """Noise and compression average out: both images must agree after smoothing, colour included."""
    errors = [float(np.square(_blur(b - a, 4.0)).mean()) for b, a in _pairs(before, after)]
    return _score(float(np.mean(errors)), worst_db=20, best_db=32)


def _nothing_invented(before: Image, after: Image) -> float:
    """The change must be in the input and must not follow its structure (method noise, Buades 2005).

    The covariance of removed noise with the input equals the energy of the change. Invented content adds energy to
    the change and no covariance. Where detail is lost, the energy of the change correlates with local structure.
    """
    invented, lost = [], []
    for b, a in _pairs(before, after):
        removed = luma(b - a)
        fine = removed - _blur(removed, 4.0)
        source = luma(b)
        invented.append(float((fine * fine - fine * (source - _blur(source, 4.0))).mean()))
        smooth = _blur(source, 2.0)
        structure = _blur(np.square(smooth - _blur(smooth, 6.0)), 6.0)
        energy = _blur(fine * fine, 6.0)
        slope = float(np.mean(energy * (structure - structure.mean()))) / max(float(structure.var()), 1e-9)
        # clipped noise and photon noise also depend slightly on the image
        lost.append(slope * float(structure.mean()) - 0.1 * float(energy.mean()))
    return min(_score(max(0.0, float(np.mean(part))), worst_db=22, best_db=34) for part in (invented, lost))


def _within_quantization(before: Image, after: Image) -> float:
    """Compressed like the input, the result must give the input: coefficients move by half a step at most."""
    errors = []
    for b, a in _pairs(before, after):
        grid, relative_to_q50 = quantized_grid([255 * luma(b)])
        moved = np.abs(dct_blocks(255 * luma(a - b), grid))
        allowed = STANDARD_TABLE * np.float32(max(relative_to_q50, 0.3) * 0.5) + 1
        errors.append(float(np.square(np.maximum(moved - allowed, 0)).sum()) / max(moved.size, 1) / 255**2)
    return _score(float(np.mean(errors)), worst_db=24, best_db=40)


def _noise_or_quantization(before: Image, after: Image) -> float:
    """The better of both scores: a noisy photo is compressed with its noise, and either task may remove both."""
    return max(_within_quantization(before, after), _nothing_invented(before, after))


def _reblurs(before: Image, after: Image) -> float:
    """One blur kernel for all channels, with sum 1, must turn the result into the input.

    A kernel with large negative values sharpens, which means that the result is the more blurred of the two.
    """
    errors, sharpening = [], []
    for b, a in islice(_pairs(before, after), DEBLURRED_CROPS):
        kernel = _explaining_kernel(luma(a), luma(b))
        errors.append(float(np.square(_filtered(a, kernel) - b).mean()))
        sharpening.append(float(np.abs(kernel).sum()))
    return min(
        _score(float(np.mean(errors)), worst_db=20, best_db=34), 1 - _ramp(float(np.mean(sharpening)), 3.0, 8.0)
    )


def _same_structure(before: Image, after: Image) -> float:
    """Darkness and haze change contrast and level smoothly over the image, so local correlation must remain."""
    shared, possible = 0.0, 0.0
    for b, a in _pairs(before, after):
        x, y = (_blur(luma(patch), 1.0) for patch in (b, a))
        x, y = x - _blur(x, 6.0), y - _blur(y, 6.0)
        covariance = _blur(x * y, 6.0)
        deviations = np.sqrt(np.maximum(_blur(x * x, 6.0) * _blur(y * y, 6.0), 0))
        shared, possible = shared + float(covariance.sum()), possible + float(deviations.sum())
    return _ramp(shared / max(possible, 1e-9), 0.4, 0.97) if possible > 1e-6 else 1.0


def _same_hues(before: Image, after: Image, low: float, high: float) -> float:
    """Saturation may change, hue must not.

    The error is the root mean square of the colour in `after` that is not the colour in `before` times a gain of at
    most 6; it is mapped from [low, high] to [1, 0].
    """
    b, a = overview(before, OVERVIEW), overview(after, OVERVIEW)
    b, a = (_blur(patch - luma(patch)[..., None], 1.5) for patch in (b, a))
    gain = np.clip((a * b).sum(axis=2) / ((b * b).sum(axis=2) + 1e-5), 0, 6)
    return 1 - _ramp(float(np.sqrt(np.square(a - gain[..., None] * b).mean())), low, high)


def _monotone(before: Image, after: Image) -> float:
    """Brightening must keep the order of levels (Spearman's rank correlation)."""
    b, a = (_blur(luma(overview(image, OVERVIEW)), 1.0)[::3, ::3].ravel() for image in (before, after))
    if np.ptp(b) < 1e-6 or np.ptp(a) < 1e-6:
        return float(np.ptp(b) < 1e-6)
    return _ramp(float(np.corrcoef(_ranks(b), _ranks(a))[0, 1]), 0.4, 0.9)


def _ranks(values: FloatArray) -> NDArray[np.float64]:
    """The rank of each value; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks


def _thin_and_brighter(before: Image, after: Image) -> float:
    """Rain adds thin bright streaks and a uniform veil: nothing darker and nothing broad may be removed."""
    import cv2

    darker, broad = [], []
    for b, a in _pairs(before, after):
        removed = b - a
        removed = removed - np.float32(np.median(removed))
        darker.append(float(np.square(np.minimum(_blur(removed, 1.0), 0)).mean()))
        opened = cv2.morphologyEx(np.maximum(removed, 0), cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
        broad.append(float(np.square(opened).mean()))
    veil = float(np.mean([np.median(b - a) for b, a in _pairs(before, after)]))
    return min(
        _score(float(np.mean(darker)), worst_db=22, best_db=34),
        _score(float(np.mean(broad)), worst_db=20, best_db=34),
        1 - _ramp(-veil, 0.02, 0.1),
    )


PARTS: dict[Task, tuple[Callable[[Image, Image], float], ...]] = {
    Task.DENOISING: (_low_pass, _noise_or_quantization),
    Task.JPEG_ARTIFACT_REMOVAL: (_low_pass, _noise_or_quantization),
    Task.MOTION_DEBLURRING: (_reblurs,),
    Task.DEFOCUS_DEBLURRING: (_reblurs,),
    Task.DEHAZING: (_same_structure, partial(_same_hues, low=0.04, high=0.12)),  # airlight may have a colour cast
    Task.BRIGHTENING: (_same_structure, partial(_same_hues, low=0.015, high=0.07), _monotone),
    Task.DERAINING: (_thin_and_brighter,),
    Task.FACE_RESTORATION: (_small,),
    Task.OLD_PHOTO_RESTORATION: (_same_structure, _monotone),
}
"""The conditions of each task; the consistency is the smallest of them."""


def _pairs(before: Image, after: Image) -> Iterator[Pair]:
    if before.width * before.height <= MOST_PIXELS:
        yield to_numpy(before.pixels), to_numpy(after.pixels)
        return
    for box in crops_of(before):
        yield to_numpy(cut(before, box)), to_numpy(cut(after, box))


def _explaining_kernel(sharp: FloatArray, blurred: FloatArray) -> FloatArray:
    """The kernel of (31, 31), or smaller for small images, that turns `sharp` into `blurred`: least squares, sum 1.

    Solves the normal equations for its difference from the identity, with correlations by FFT of periodic images.
    """
    side = min(KERNEL, min(sharp.shape) // 4 * 2 + 1)
    window = np.outer(*(np.hanning(size + 2)[1:-1] for size in sharp.shape))
    source, change = (np.fft.rfft2((p - p.mean()) * window) for p in (sharp, blurred - sharp))
    own = np.fft.irfft2(np.abs(source) ** 2, sharp.shape)
    cross = np.fft.irfft2(np.conj(source) * change, sharp.shape)
    y, x = (axis.ravel() - side // 2 for axis in np.indices((side, side)))
    matrix = own[y[:, None] - y, x[:, None] - x]
    matrix[np.diag_indices(side * side)] += 1e-4 * own[0, 0] + 1e-9
    kernel = np.linalg.solve(matrix, cross[y, x]).reshape(side, side)
    kernel[side // 2, side // 2] += 1
    total = float(kernel.sum())
    # images that are not related by a blur give a sum near 0, which cannot be normalised
    return np.asarray(kernel / total if total > 0.1 else kernel, np.float32)


def _filtered(rgb: FloatArray, kernel: FloatArray) -> FloatArray:
    import cv2

    flipped = np.ascontiguousarray(kernel[::-1, ::-1])
    return np.asarray(cv2.filter2D(rgb, -1, flipped, borderType=cv2.BORDER_REFLECT), np.float32)


def _blur(plane: FloatArray, sigma: float) -> FloatArray:
    import cv2

    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def _score(error: float, *, worst_db: float, best_db: float) -> float:
    """PSNR of a mean squared error, mapped from [worst_db, best_db] to [0, 1]."""
    return _ramp(-10 * math.log10(max(error, 1e-12)), worst_db, best_db)


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
