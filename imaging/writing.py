"""Writing of image files: atomically, and without replacing an existing file unless requested."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from imaging.atomic import atomic_write
from imaging.decoding.exif import EXIF_IFD, GPS_IFD, with_its_bytes
from imaging.decoding.wavelets import jxl_boxes
from imaging.disk import FREE_IT
from imaging.encoders import SLOW_FROM_PIXELS, by_library, by_pillow, in_process
from imaging.errors import OutputError, OutputExists
from imaging.image import Image
from imaging.metadata import read_exif, written_exif
from imaging.network_space import in_file_space, to_srgb
from imaging.output import FORMAT_OF, check_output
from imaging.pixels import drop_pages, empty, row_chunks
from imaging.png_encoding import png_parts
from imaging.progress import ProgressToken
from imaging.resizing import fitted, resize

OPAQUE_FORMATS = {"JPEG", "BMP"}
PNG_STRIP_BYTES = 1 << 20
"""Bytes of the pixels that one thread filters and compresses at a time."""
MAX_SEGMENT_BYTES, MAX_ICC_BYTES = 65_533, 255 * 65_519
"""The size of a JPEG segment, and the maximum size of a profile in all of them."""
JXL_CONTAINER = ((b"JXL ", b"\r\n\x87\n"), (b"ftyp", b"jxl \0\0\0\0jxl "))
LARGEST_TIFF = 3 << 30
"""Bytes of pixels beyond which a TIFF needs offsets of 64 bits."""
XMP_TAG, IPTC_TAG, GEO_KEYS = 700, 33723, 34735
MOST_SHORT = 65535
TEXT_TAGS = (270, 271, 272, 305, 306, 315, 33432)
"""EXIF tags of a TIFF's own directory: description, make, model, software, date, artist, copyright."""
PHOTOSHOP_MARKER, IPTC_RESOURCE = b"\xff\xed", 0x0404
WITHOUT_METADATA = {"BMP"}
Naming: TypeAlias = Callable[[Path], object]


def write_image(
    image: Image,
    path: Path,
    *,
    overwrite: bool = False,
    quality: int = 95,
    before_naming: Naming = lambda _: None,
    token: ProgressToken | None = None,
) -> None:
    """Write an image in the format of the path's suffix, with profile and metadata; creates missing folders.

    PNG, TIFF and JPEG XL keep 16 bits. Formats without alpha get the image composited on white. `quality` (1..100)
    is for JPEG, WebP, AVIF, HEIC and JPEG XL. `before_naming` is called with the complete file before it is renamed.
    Raises `OutputError`, and `Cancelled` by the token; then the file at the path is unchanged.
    """
    token = token or ProgressToken()
    token.check()
    check_output(path, overwrite, (image.width, image.height))
    image = in_file_space(image)
    kind = FORMAT_OF[path.suffix.lower()]
    parts = _parts(image, kind, quality, token)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, sync=True, overwrite=overwrite, suffix=path.suffix) as temporary:
            with temporary.open("wb") as file:
                for part in parts:
                    file.write(part)
                    token.check()
            before_naming(temporary)
    except FileExistsError as error:
        raise OutputExists(f"{path} exists already", "choose another name, or ask for overwriting") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}", FREE_IT) from error


def encode_image(image: Image, kind: str, quality: int = 95, token: ProgressToken | None = None) -> bytes:
    """The bytes of an image file; `kind` is one of the values of `FORMAT_OF`. Raises `Cancelled` by the token."""
    return b"".join(_parts(in_file_space(image), kind, quality, token or ProgressToken()))


def _parts(image: Image, kind: str, quality: int, token: ProgressToken) -> Iterable[bytes | memoryview]:
    """The bytes of a file; those of a PNG are made when they are asked for."""
    opaque = image.alpha is None or kind in OPAQUE_FORMATS
    deep = image.bit_depth == 16
    if kind == "PNG":
        return _png_parts(image, token)
    if kind == "TIFF":
        return [_tiff(image, opaque, deep, token)]
    if kind == "JXL":
        return [_jxl(image, opaque, deep, quality, token)]
    return [_by_pillow(image, kind, quality, opaque, token)]


def thumbnail_jpeg(image: Image, long_side: int, quality: int = 80) -> bytes:
    """A JPEG of the image reduced to `long_side`, on white, without metadata."""
    if image.long_side > long_side:
        image = image.with_pixels(resize(image.pixels, *fitted(image.height, image.width, long_side)))
    plain = Image(image.pixels, image.alpha, greyscale=image.greyscale)
    return bytes(_by_pillow(plain, "JPEG", quality, True, ProgressToken()))


def _planes(image: Image, rows: slice, *, opaque: bool, deep: bool = False, associated: bool = False) -> NDArray[Any]:
    """(1..4, h, W) integers of some rows: grey or RGB, with alpha unless `opaque`.

    `associated`: colours multiplied by alpha.
    """
    import torch

    colours = (image.pixels[:1] if image.greyscale else image.pixels)[:, rows]
    if image.alpha is not None:
        alpha = image.alpha[:, rows]
        if opaque:
            colours = colours * alpha + (1 - alpha)
        else:
            colours = torch.cat([colours * alpha if associated else colours, alpha])
    if deep:
        planes: NDArray[Any] = (colours * 65535).round_().clamp_(0, 65535).to(torch.uint16).numpy()
        return planes
    # The same numbers by OpenCV in a third of the time.
    return np.stack([cv2.convertScaleAbs(plane, alpha=255) for plane in colours.clamp(min=0).numpy()])


def _integers(image: Image, *, opaque: bool, deep: bool, associated: bool = False) -> NDArray[Any]:
    """(H, W, channels) integers of the image."""
    import torch

    channels = len(_planes(image, slice(0, 1), opaque=opaque))
    array = empty((image.height, image.width, channels), torch.uint16 if deep else torch.uint8)
    for rows in row_chunks(image.pixels):
        array.numpy()[rows] = _interleaved(_planes(image, rows, opaque=opaque, deep=deep, associated=associated))
        drop_pages(array)
    output: NDArray[Any] = array.numpy()
    return output


def _interleaved(planes: NDArray[Any]) -> NDArray[Any]:
    """(channels, h, W) -> (h, W, channels), in a fifth of the time of NumPy."""
    rows: NDArray[Any] = cv2.merge(list(planes)).reshape(*planes.shape[1:], len(planes))
    return rows


def _by_pillow(image: Image, kind: str, quality: int, opaque: bool, token: ProgressToken) -> memoryview:
    by_kind: dict[str, dict[str, Any]] = {
        # Pillow's buffer for optimising is too small for noise without subsampling.
        "JPEG": {"quality": quality, "subsampling": 0 if quality >= 90 else 2, "optimize": quality < 90},
        "WEBP": {"quality": quality, "method": 4},
        "AVIF": {"quality": quality, "speed": 8},
        "HEIF": {"quality": quality, "chroma": "444"},
    }
    channels = (1 if image.greyscale else 3) + (not opaque)
    options = by_kind.get(kind, {}) | _metadata_options(image, kind, channels)
    if _is_slow(image, kind):
        return in_process(_integers(image, opaque=opaque, deep=False), kind, options, token)
    return by_pillow(_pillow(image, opaque), kind, options)


def _is_slow(image: Image, kind: str) -> bool:
    """Whether encoding takes long enough to be done in a process that can be killed."""
    return kind in SLOW_FROM_PIXELS and image.width * image.height >= SLOW_FROM_PIXELS[kind]


def _metadata_options(image: Image, kind: str, channels: int) -> dict[str, Any]:
    """Pillow's options for the metadata that the format can hold."""
    options: dict[str, Any] = {}
    if image.dpi and (kind == "BMP" or (kind == "JPEG" and max(image.dpi) <= MOST_SHORT)):
        options["dpi"] = image.dpi
    if kind in WITHOUT_METADATA:
        return options
    most = MAX_SEGMENT_BYTES if kind == "JPEG" else None
    if (profile := _profile(channels, image)) and (kind != "JPEG" or len(profile) <= MAX_ICC_BYTES):
        options["icc_profile"] = profile
    if (exif := written_exif(image)) and (most is None or len(exif) <= most):
        options["exif"] = exif
    if image.xmp and (most is None or len(image.xmp) + 29 <= most):
        options["xmp"] = image.xmp
    if image.iptc and kind == "JPEG" and len(image.iptc) + 40 <= MAX_SEGMENT_BYTES:
        options["extra"] = _photoshop_segment(image.iptc)
    return options


def _photoshop_segment(iptc: bytes) -> bytes:
    """An APP13 segment with IPTC records."""
    resource = b"8BIM" + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    content = b"Photoshop 3.0\0" + resource
    return PHOTOSHOP_MARKER + struct.pack(">H", len(content) + 2) + content


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


def _png_parts(image: Image, token: ProgressToken) -> Iterator[bytes]:
    """The bytes of a PNG file in parts. 16-bit grey with alpha is written in colour: OpenCV does not read it."""
    import torch

    opaque, deep = image.alpha is None, image.bit_depth == 16
    if deep and not opaque:
        image = replace(image, greyscale=False)
    channels = (1 if image.greyscale else 3) + (not opaque)
    chunks = []
    if profile := _profile(channels, image):
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if image.dpi:
        density = [min(round(one / 0.0254), 2**31 - 1) for one in image.dpi]  # in pixels per metre
        chunks.append((b"pHYs", struct.pack(">IIB", *density, 1)))
    if image.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + image.xmp))
    if exif := (written_exif(image) or b"").removeprefix(b"Exif\x00\x00"):
        chunks.append((b"eXIf", exif))
    at_once = max(1, PNG_STRIP_BYTES // (image.width * channels * (1 + deep)))

    def strips() -> Iterator[NDArray[Any]]:
        for top in range(0, image.height, at_once):
            token.check()
            rows = slice(top, min(image.height, top + at_once))
            yield _interleaved(_planes(image, rows, opaque=opaque, deep=deep))
            drop_pages(image.pixels)

    return png_parts(strips(), (image.height, image.width), chunks, torch.get_num_threads())


class _Watched(io.BytesIO):
    """A stream whose writer is stopped by a token."""

    def __init__(self, token: ProgressToken) -> None:
        super().__init__()
        self._token = token

    def write(self, data: Any) -> int:
        self._token.check()
        return super().write(data)


def _tiff(image: Image, opaque: bool, deep: bool, token: ProgressToken) -> memoryview:
    import tifffile  # takes a while, and is rarely needed

    associated = image.associated_alpha and not opaque
    array = _integers(image, opaque=opaque, deep=deep, associated=associated)
    grey, exif = array.shape[2] <= 2, read_exif(written_exif(image))
    extratags = [*_own_tags(image, exif)]
    directories = [(tag, dict(exif.get_ifd(tag))) for tag in (EXIF_IFD, GPS_IFD) if tag in exif]
    is_big = array.nbytes > LARGEST_TIFF
    if not is_big:
        # tifffile cannot write directory tags: the preceding number, which is unused, reserves the space.
        extratags += [(tag - 1, "I", 1, 0, True) for tag, _ in directories]
    stream = _Watched(token)
    tifffile.imwrite(
        stream,
        array.squeeze(2) if array.shape[2] == 1 else array,
        bigtiff=is_big,
        byteorder="<",
        photometric="minisblack" if grey else "rgb",
        planarconfig="contig",
        extrasamples=None if opaque else ["assocalpha" if associated else "unassalpha"],
        compression="zlib",
        compressionargs={"level": 3},
        predictor=True,
        resolution=image.dpi,
        resolutionunit="INCH" if image.dpi else None,
        iccprofile=_profile(array.shape[2], image),
        software=False,
        metadata=None,
        extratags=extratags,
    )
    if not is_big:
        _append_directories(stream, directories)
    return stream.getbuffer()


def _own_tags(image: Image, exif: PIL.Image.Exif) -> Iterator[tuple[int, str, int, Any, bool]]:
    """Tags of the picture's own directory: texts of the EXIF block, XMP, IPTC and GeoTIFF."""
    for tag in TEXT_TAGS:
        if isinstance(text := exif.get(tag), str):
            yield tag, "s", 0, text.encode("latin-1", "replace"), True
    for tag, blob in ((XMP_TAG, image.xmp), (IPTC_TAG, image.iptc)):
        if blob:
            yield tag, "B", len(blob), blob, True
    for tag, value in image.geotiff.items():
        if isinstance(value, str):
            yield tag, "s", 0, value.encode("utf-8", "replace"), True
        elif tag == GEO_KEYS:
            if all(0 <= number <= MOST_SHORT for number in value):
                yield tag, "H", len(value), tuple(int(number) for number in value), True
        else:
            yield tag, "d", len(value), value, True


def _append_directories(stream: io.BytesIO, directories: Sequence[tuple[int, dict[int, Any]]]) -> None:
    """Append EXIF and GPS directories to the file, and write their offsets into the tags reserved for them."""
    import tifffile

    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        tags: Any = file.pages.first.tags
        places = {tag: tags[tag - 1] for tag, _ in directories}
    for tag, values in directories:
        end = stream.seek(0, io.SEEK_END)
        end += end % 2
        directory = ImageFileDirectory_v2(b"II*\x00\x08\x00\x00\x00")
        with_its_bytes(values)
        for number, value in values.items():
            directory[number] = value
        stream.seek(end)
        stream.write(directory.tobytes(end))
        stream.seek(places[tag].offset)
        stream.write(struct.pack("<H", tag))
        stream.seek(places[tag].valueoffset)
        stream.write(struct.pack("<I", end))


def _jxl(image: Image, opaque: bool, deep: bool, quality: int, token: ProgressToken) -> memoryview:
    """A JPEG XL container. Its encoder accepts no profile, so colours are converted to sRGB."""
    array = _integers(image, opaque=opaque, deep=deep)
    profile = _profile(array.shape[2], image)
    if profile and array.shape[2] >= 3:
        array[..., :3] = to_srgb(array[..., :3], profile)
    distance = 0.1 + (100 - quality) * 0.09  # as cjxl does
    options = {"distance": distance if quality < 100 else 0, "lossless": quality == 100}
    is_slow = _is_slow(image, "JXL")
    codestream = bytes(in_process(array, "JXL", options, token) if is_slow else by_library(array, "JXL", options))
    boxes = [*jxl_boxes(codestream)] or [*JXL_CONTAINER, (b"jxlc", codestream)]
    more = [(b"Exif", b"\0\0\0\0" + exif.removeprefix(b"Exif\0\0"))] if (exif := written_exif(image)) else []
    more += [(b"xml ", image.xmp)] if image.xmp else []
    first = next(index for index, (kind, _) in enumerate(boxes) if kind in (b"jxlc", b"jxlp"))
    boxes[first:first] = more
    return memoryview(b"".join(struct.pack(">I", len(content) + 8) + kind + content for kind, content in boxes))
