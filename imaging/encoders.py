"""Encoders that write a picture in one call of a library; slow ones run in a process, which can be killed."""

from __future__ import annotations

import io
import json
import math
import pickle
from typing import Any

import PIL.Image
from numpy.typing import NDArray

from imaging.child import Child, Ended, read_into, watched
from imaging.errors import OutputError
from imaging.progress import ProgressToken

SLOW_FROM_PIXELS = {"HEIF": 1 << 20, "JXL": 1 << 21, "WEBP": 1 << 23, "AVIF": 1 << 23}
"""Pixels from which an encoder takes longer than a second, so that it is worth a process."""
WORKER = "imaging.encoding_worker"


def by_pillow(picture: PIL.Image.Image, kind: str, options: dict[str, Any]) -> memoryview:
    """The bytes of the file. Raises `OutputError`."""
    if kind == "HEIF":
        import pillow_heif  # loads libheif

        pillow_heif.register_heif_opener()
    stream = io.BytesIO()
    try:
        picture.save(stream, kind, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise OutputError(f"the picture cannot be written as {kind}: {error}", "choose PNG") from error
    return stream.getbuffer()


def by_library(array: NDArray[Any], kind: str, options: dict[str, Any]) -> memoryview:
    """The bytes of the file, for JPEG XL its codestream, from (H, W, channels) integers. Raises `OutputError`."""
    if kind != "JXL":
        return by_pillow(PIL.Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array), kind, options)
    import imagecodecs

    try:
        return memoryview(bytes(imagecodecs.jpegxl_encode(array, **options)))
    except (RuntimeError, ValueError) as error:
        raise OutputError(f"the picture cannot be written as JPEG XL: {error}", "choose PNG") from error


def in_process(array: NDArray[Any], kind: str, options: dict[str, Any], token: ProgressToken) -> memoryview:
    """As `by_library`, in a process of its own. Raises `OutputError`, and `Cancelled` by the token."""
    child = Child(WORKER)
    arguments = pickle.dumps(options)
    request = {"kind": kind, "size": len(arguments), "shape": array.shape, "type": array.dtype.name}
    try:
        with watched(child, math.inf, token.check) as raised:
            try:
                child.send(request, arguments)
                child.send({}, array.data.cast("B"))
                head = json.loads(child.head())
                data = memoryview(bytearray(head.get("size", 0)))
                read_into(child.output, data)
            except Ended:
                token.check()
                why = raised[0] if raised else f"its encoder for {kind} has ended"
                raise OutputError(f"the picture cannot be written: {why}", "choose PNG") from None
    finally:
        child.end()
    if "error" in head:
        raise OutputError(head["error"], head["hint"])
    return data
