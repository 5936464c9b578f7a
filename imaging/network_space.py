"""Conversion of pictures to sRGB, in which the networks were trained, and back to their own colour space.

Colours beyond the gamut of sRGB are drawn towards the grey of their luminance until they fit, by a factor that varies
smoothly over the picture. So nothing is clipped, and noise has the same form as in sRGB.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from imaging.image import Image
from imaging.pixels import empty, row_chunks

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = 1 << 16
LIKE_SRGB = 0.06
"""Largest difference from sRGB's curve of a profile whose values need no conversion."""
SAME_PRIMARIES = 0.02
"""Largest difference of a matrix to linear sRGB from the identity at which primaries are treated as sRGB's."""
PREDICTED = 0.01
"""Largest error in linear light up to which one curve and a matrix describe a profile."""
BLOCK = 16
"""Side in pixels of the blocks that have one saturation factor each."""
BLACK_STEP, WHITE_STEP = 0.0005, 0.013
"""Linear light of 1.5 levels of 8 bits at black and white: colours may exceed the gamut so far by rounding."""
ROUNDED = 0.98
"""Factors above it result from the rounding of 8-bit files and are replaced by 1."""
LEAST_SATURATION = 0.1
"""Minimum factor. BT.2020 needs 0.45; only imaginary primaries need less."""
UNCHANGED = 0.6 / 65535
"""Largest difference of pixels that were stored in 16 bits and loaded again."""
Values: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Space:
    """The colour space of a profile."""

    curve: Values
    """Linear light of each level of 16 bits."""
    levels: Values
    """File value of the same light as each level of 16 bits in sRGB."""
    to_srgb: Values
    """(3, 3): the matrix from linear light to that of sRGB; each row sums to 1."""

    def light(self, values: Values) -> Values:
        """Linear light in sRGB's primaries, outside [0, 1] for colours outside its gamut."""
        return _moved(_looked_up(self.curve, values), self.to_srgb)

    def values(self, light: Values) -> Values:
        """The inverse of `light`."""
        from imaging.decoding.colour import srgb_encoded

        linear = np.clip(_moved(light, np.linalg.inv(self.to_srgb)), 0, 1)
        return _looked_up(self.levels, srgb_encoded(linear))


def in_network_space(image: Image) -> Image:
    """The image in sRGB; unchanged if its profile is close to sRGB."""
    space = _space(image.icc_profile)
    if space is None or image.network_space:
        return image
    pixels, factors = empty(tuple(image.pixels.shape)), _factors(image.pixels, space)
    for rows in row_chunks(pixels, image.pixels):
        pixels.numpy()[:, rows] = _seen(image.pixels, rows, space, factors)
    return replace(image, pixels=pixels, network_space=True, file_pixels=image.pixels)


def in_file_space(image: Image) -> Image:
    """The image in the space of its profile, as files store it; unchanged pixels get the values of the file."""
    space = _space(image.icc_profile)
    if space is None or not image.network_space:
        return replace(image, network_space=False, file_pixels=None)
    from imaging.decoding.colour import srgb_decoded

    read, pixels = image.file_pixels, empty(tuple(image.pixels.shape))
    factors = np.ones((1, 1), np.float32) if read is None else _factors(read, space)
    for rows in row_chunks(pixels, image.pixels, *([] if read is None else [read])):
        now = image.pixels[:, rows].numpy()
        light = _saturated(srgb_decoded(now), np.float32(1) / _at(factors, rows, pixels))
        values = space.values(light)
        if read is not None and read.shape == pixels.shape:
            is_same = np.abs(now - _seen(read, rows, space, factors)).max(axis=0) <= UNCHANGED
            values = np.where(is_same, read[:, rows].numpy(), values)
        pixels.numpy()[:, rows] = values
    return replace(image, pixels=pixels, network_space=False, file_pixels=None)


def to_srgb(samples: NDArray[Any], profile: bytes) -> NDArray[Any]:
    """(H, W, 3) integers in the space of a profile -> sRGB."""
    import imagecodecs

    from imaging.decoding.colour import srgb_profile

    try:
        return np.asarray(
            imagecodecs.cms_transform(
                np.ascontiguousarray(samples), profile, srgb_profile(), colorspace="rgb", outcolorspace="rgb"
            )
        )
    except imagecodecs.CmsError:
        return samples


@lru_cache(maxsize=8)
def _space(profile: bytes | None) -> _Space | None:
    """The space of a profile; None for one like sRGB."""
    if not profile or profile[16:20] not in (b"RGB ", b"GRAY"):
        return None
    from imaging.decoding.colour import srgb_decoded, srgb_encoded

    levels = np.linspace(0, 1, LEVELS, dtype=np.float32)
    light = _by_profile(levels[:, None].repeat(1 if profile[16:20] == b"GRAY" else 3, axis=1), profile)
    if light is None:
        return None
    curve = np.maximum.accumulate(light[:, 1])
    back = np.interp(srgb_decoded(levels), curve, levels).astype(np.float32)
    space = _Space(curve, back, np.eye(3, dtype=np.float32))
    if profile[16:20] == b"RGB ":
        space = _with_primaries(space, profile)
    is_like = float(np.abs(srgb_encoded(curve) - levels).max()) < LIKE_SRGB
    return None if is_like and np.array_equal(space.to_srgb, np.eye(3)) else space


def _with_primaries(space: _Space, profile: bytes) -> _Space:
    """The space with the matrix of the profile's primaries, if they are not sRGB's and describe the profile."""
    matrix = _by_profile(np.eye(3, dtype=np.float32), profile)
    colours = np.stack(np.meshgrid(*[np.linspace(0, 1, 5, dtype=np.float32)] * 3), axis=-1).reshape(-1, 3)
    wanted = _by_profile(colours, profile)
    if matrix is None or wanted is None or np.abs(matrix - np.eye(3)).max() < SAME_PRIMARIES:
        return space
    moved = replace(space, to_srgb=(matrix / matrix.sum(axis=0)).T)
    predicted = moved.light(colours.T[:, None])[:, 0].T
    # Table-based profiles clip colours outside sRGB.
    is_described = np.abs(np.clip(predicted, 0, 1) - np.clip(wanted, 0, 1)).max() < PREDICTED
    return moved if is_described else space


def _by_profile(values: Values, profile: bytes) -> Values | None:
    """(n, 1 or 3) values of a profile -> (n, 3) linear sRGB, by LittleCMS; None if it cannot."""
    import imagecodecs

    from imaging.decoding.colour import rgb_profile

    kind = "gray" if values.shape[1] == 1 else "rgb"
    linear = rgb_profile(gamma=1.0) or b""
    try:
        light = imagecodecs.cms_transform(
            np.ascontiguousarray(values[None]), profile, linear, colorspace=kind, outcolorspace="rgb", intent=1
        )
    except (imagecodecs.CmsError, ValueError):
        return None
    return np.asarray(light, np.float32).reshape(-1, 3)


def _seen(pixels: Tensor, rows: slice, space: _Space, factors: Values) -> Values:
    """Some rows of (3, H, W) pixels, converted from the space of a file to sRGB."""
    from imaging.decoding.colour import srgb_encoded

    light = _saturated(space.light(pixels[:, rows].numpy()), _at(factors, rows, pixels))
    seen: Values = np.clip(srgb_encoded(light), 0, 1)
    return seen


def _looked_up(table: Values, values: Values) -> Values:
    """Entries of a table for values in [0, 1]; takes a thirtieth of the time of interpolation."""
    return table[(values * np.float32(LEVELS - 1) + np.float32(0.5)).astype(np.uint16)]


def _moved(light: Values, matrix: Values) -> Values:
    """(3, ...) light in other primaries. Computed from differences, so that greys stay exactly grey."""
    red, blue = light[0] - light[1], light[2] - light[1]
    return np.stack([light[1] + row[0] * red + row[2] * blue for row in matrix])


def _luminance(light: Values) -> Values:
    luminance: Values = (
        light[1] + np.float32(0.2126) * (light[0] - light[1]) + np.float32(0.0722) * (light[2] - light[1])
    )
    return luminance


def _saturated(light: Values, factor: Values) -> Values:
    """(3, h, w) light with its distance from the grey of its luminance multiplied by `factor`."""
    grey = _luminance(light)
    return grey + factor * (light - grey)


def _factors(pixels: Tensor, space: _Space) -> Values:
    """The saturation factors with which each block and its neighbours fit into sRGB; `pixels` as in the file."""
    height, width = pixels.shape[-2:]
    tops, lefts = _starts(height), _starts(width)
    rows = [
        np.minimum.reduceat(_needed(space.light(pixels[:, top:end].numpy())).min(axis=0), lefts)
        for top, end in zip(tops, [*tops[1:], height], strict=True)
    ]
    # Factors interpolated between block centres are then small enough everywhere in the block.
    factors: Any = cv2.erode(np.stack(rows), np.ones((3, 3), np.uint8))
    return np.asarray(factors, np.float32)


def _starts(side: int) -> list[int]:
    """The starts of nearly equal blocks along a side."""
    count = -(-side // BLOCK)
    return [number * side // count for number in range(count)]


def _needed(light: Values) -> Values:
    """The saturation factor with which each pixel of (3, h, w) linear sRGB is within its gamut."""
    grey = np.clip(_luminance(light), 0, 1)
    below, above = grey - light.min(axis=0), light.max(axis=0) - grey
    tiny = np.float32(1e-6)
    fits = np.minimum(
        (grey + BLACK_STEP) / np.maximum(below, tiny), (1 + WHITE_STEP - grey) / np.maximum(above, tiny)
    )
    needed: Values = np.where(fits > ROUNDED, 1, np.maximum(fits, LEAST_SATURATION)).astype(np.float32)
    return needed


def _at(factors: Values, rows: slice, pixels: Tensor) -> Values:
    """The factor of each pixel of some rows of a picture."""
    height, width = pixels.shape[-2:]
    tall = cv2.resize(factors, (factors.shape[1], height), interpolation=cv2.INTER_LINEAR)[rows]
    at: Values = cv2.resize(tall, (width, len(tall)), interpolation=cv2.INTER_LINEAR)
    return at
