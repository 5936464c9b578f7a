"""Writing of image files: atomically, and without replacing an existing file unless requested."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from imaging.atomic import atomic_write
from imaging.errors import OutputError, OutputExists
from imaging.image import Image
from imaging.pixels import drop_pages, empty, is_in_file, row_chunks
from imaging.resizing import fitted, resize

FORMAT_OF = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
}
OPAQUE_FORMATS = {"JPEG", "BMP"}
PNG_OPTIONS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
)
"""On an enlarged photo these take 0.7 times as long as zlib's level 1 alone, and save 12 %; level 6 takes 7 times."""
TEXT_TAGS = (270, 271, 272, 305, 306, 315, 33432)
"""EXIF tags that are written to a 16-bit TIFF: description, make, model, software, date, artist, copyright."""
MAX_EXIF_BYTES = 65_533
"""The size of a JPEG segment."""


def check_output(path: Path, overwrite: bool) -> None:
    """Raise the error that `write_image` would raise for a path, before the work is done."""
    if path.suffix.lower() not in FORMAT_OF:
        raise OutputError(f"{path} has no known image suffix", f"use one of {', '.join(FORMAT_OF)}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder", "name a file in it")
    if path.exists() and not overwrite:
        raise OutputExists(f"{path} exists already", "choose another name, or ask for overwriting")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission in {parent}", "choose another folder")


def write_image(image: Image, path: Path, *, overwrite: bool = False, quality: int = 95) -> None:
    """Write an image in the format of the path's suffix, with its ICC profile and EXIF; creates missing folders.

    PNG and TIFF keep 16 bits. Formats without alpha get the image on white. `quality` (1..100) is for JPEG, WebP and
    AVIF. Raises `OutputError`; then the file at the path is unchanged.
    """
    check_output(path, overwrite)
    kind = FORMAT_OF[path.suffix.lower()]
    data = None if _goes_to_file(image, kind) else _encoded(image, kind, quality)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, sync=True, overwrite=overwrite, suffix=path.suffix) as temporary:
            if data is None:
                _png(image, image.bit_depth == 16, image.alpha is None, temporary)
            else:
                temporary.write_bytes(data)
    except FileExistsError as error:
        raise OutputExists(f"{path} exists already", "choose another name, or ask for overwriting") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def _goes_to_file(image: Image, kind: str) -> bool:
    """Whether OpenCV writes the file itself, because image and encoded bytes together exceed the memory budget."""
    return kind == "PNG" and not (image.greyscale and image.alpha is not None) and is_in_file(image.pixels)


def encode_image(image: Image, kind: str, quality: int = 95) -> bytes:
    """The bytes of an image file; `kind` is one of the values of `FORMAT_OF`."""
    return bytes(_encoded(image, kind, quality))


def _encoded(image: Image, kind: str, quality: int) -> bytes | memoryview:
    opaque = image.alpha is None or kind in OPAQUE_FORMATS
    channels = (1 if image.greyscale else 3) + (not opaque)
    deep = image.bit_depth == 16
    if kind == "PNG" and channels != 2:
        return _png(image, deep, opaque)
    if kind == "PNG" and deep:  # neither OpenCV's PNG nor TIFF supports 16-bit grey with alpha
        return _png(replace(image, greyscale=False), deep, opaque)
    if kind == "TIFF" and deep:
        return _deep_tiff(replace(image, greyscale=image.greyscale and opaque), opaque)
    return _by_pillow(image, kind, quality, opaque)


def thumbnail_jpeg(image: Image, long_side: int, quality: int = 80) -> bytes:
    """A JPEG of the image reduced to `long_side`, on white, without metadata."""
    if image.long_side > long_side:
        image = image.with_pixels(resize(image.pixels, *fitted(image.height, image.width, long_side)))
    plain = Image(image.pixels, image.alpha, greyscale=image.greyscale)
    return bytes(_by_pillow(plain, "JPEG", quality, opaque=True))


def _planes(image: Image, rows: slice, *, opaque: bool, deep: bool = False) -> NDArray[Any]:
    """(1..4, h, W) integers of some rows: grey or RGB, with alpha unless `opaque`."""
    import torch

    colours = (image.pixels[:1] if image.greyscale else image.pixels)[:, rows]
    if image.alpha is not None:
        alpha = image.alpha[:, rows]
        colours = colours * alpha + (1 - alpha) if opaque else torch.cat([colours, alpha])
    most, kind = (65535, torch.uint16) if deep else (255, torch.uint8)
    integers = (colours * most).round_().clamp_(0, most).to(kind)
    planes: NDArray[Any] = integers.numpy()
    return planes


def _integers(image: Image, *, opaque: bool, deep: bool, order: Sequence[int] = (0, 1, 2, 3)) -> NDArray[Any]:
    """(H, W, channels) integers of the image, with the channels in that order."""
    import torch

    channels = len(_planes(image, slice(0, 1), opaque=opaque))
    array = empty((image.height, image.width, channels), torch.uint16 if deep else torch.uint8)
    for rows in row_chunks(image.pixels):
        planes = _planes(image, rows, opaque=opaque, deep=deep)
        # Takes a fifth of the time of NumPy.
        array.numpy()[rows] = cv2.merge([planes[channel] for channel in order[:channels]]).reshape(
            -1, image.width, channels
        )
        drop_pages(array)
    output: NDArray[Any] = array.numpy()
    return output


def _by_pillow(image: Image, kind: str, quality: int, opaque: bool) -> memoryview:
    picture = _pillow(image, opaque)
    by_kind: dict[str, dict[str, Any]] = {
        "PNG": {"compress_level": 6},
        # Pillow's buffer for optimising is too small for noise without subsampling.
        "JPEG": {"quality": quality, "subsampling": 0 if quality >= 90 else 2, "optimize": quality < 90},
        "WEBP": {"quality": quality, "method": 4},
        # Pillow's libtiff cannot write the inner blocks of EXIF; its own writer can, but does not compress.
        "TIFF": {"compression": "raw" if image.exif else "tiff_lzw"},
        "AVIF": {"quality": quality, "speed": 8},
    }
    options = by_kind.get(kind, {})
    if kind != "BMP" and (profile := _profile(len(picture.getbands()), image)):
        options["icc_profile"] = profile
    if image.exif and len(image.exif) <= MAX_EXIF_BYTES and kind != "BMP":
        options["exif"] = image.exif
    stream = io.BytesIO()
    try:
        picture.save(stream, kind, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise OutputError(f"the picture cannot be written as {kind}: {error}", "choose PNG") from error
    return stream.getbuffer()


def _pillow(image: Image, opaque: bool) -> PIL.Image.Image:
    """The image in Pillow, with 8 bits."""
    colours = "L" if image.greyscale else "RGB"
    picture = PIL.Image.new(colours if opaque else f"{colours}A", (image.width, image.height))
    for rows in row_chunks(image.pixels):
        picture.paste(PIL.Image.fromarray(cv2.merge(list(_planes(image, rows, opaque=opaque)))), (0, rows.start))
    return picture


def _profile(channels: int, image: Image) -> bytes | None:
    """The ICC profile, unless it is for another number of channels."""
    space = b"GRAY" if channels <= 2 else b"RGB "
    return image.icc_profile if image.icc_profile and image.icc_profile[16:20] == space else None


def _png(image: Image, deep: bool, opaque: bool, file: Path | None = None) -> memoryview:
    """Encode by OpenCV, which keeps 16 bits and is faster than Pillow. With `file`, writes it and returns nothing."""
    array = _integers(image, opaque=opaque, deep=deep, order=(0,) if image.greyscale else (2, 1, 0, 3))
    kinds, blobs = [], []
    profile = _profile(array.shape[2], image)
    for kind, blob in ((cv2.IMAGE_METADATA_EXIF, image.exif), (cv2.IMAGE_METADATA_ICCP, profile)):
        if blob:
            kinds.append(kind)
            blobs.append(np.frombuffer(blob.removeprefix(b"Exif\x00\x00"), np.uint8))
    if file:
        done, data = cv2.imwriteWithMetadata(str(file), array, kinds, blobs, PNG_OPTIONS), np.empty(0, np.uint8)
    else:
        done, data = cv2.imencodeWithMetadata(".png", array, kinds, blobs, PNG_OPTIONS)
    if not done:
        raise OutputError("the picture cannot be written as PNG", "is the disk full? otherwise choose TIFF")
    return data.data


def _deep_tiff(image: Image, opaque: bool) -> memoryview:
    array = _integers(image, opaque=opaque, deep=True)
    import tifffile  # takes a quarter of a second, and is rarely needed

    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        array.squeeze(2) if array.shape[2] == 1 else array,
        photometric="rgb" if array.shape[2] >= 3 else "minisblack",
        extrasamples=["unassalpha"] if array.shape[2] == 4 else None,
        compression="zlib",
        iccprofile=_profile(array.shape[2], image),
        metadata=None,
        extratags=[(tag, "s", 0, text, True) for tag, text in _text_tags(image)],
    )
    return stream.getbuffer()


def _text_tags(image: Image) -> list[tuple[int, str]]:
    exif = PIL.Image.Exif()
    exif.load(image.exif or b"")
    return [(tag, str(exif[tag])) for tag in TEXT_TAGS if tag in exif]
