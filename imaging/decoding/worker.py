"""The decoding process: reads requests from stdin and writes decoded images to stdout, one after another.

A message is a line of JSON, followed by bytes whose lengths it gives. The process ends when stdin is closed.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import sys
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from imaging.decoding.bounds import begin_request
from imaging.errors import ImageError
from imaging.limits import Limits

CHUNK_BYTES = 1 << 20
IDLE_SECONDS = 2.0
BLOBS = ("icc_profile", "exif", "xmp", "iptc")
PLAIN = ("orientation", "associated_alpha", "dpi", "quantization_relative_to_q50", "warnings")


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    import imaging.decoding.decode  # noqa: F401  # before the first request comes

    while line := _next_line(requests):
        request = json.loads(line)
        data = requests.read(request["size"])
        if len(data) < request["size"]:
            return
        _answer(answers, request, data)
        del data


def _next_line(requests: BinaryIO) -> bytes:
    """The JSON line of the next request; while waiting, memory of the last one is returned to the system."""
    with suppress(OSError, ValueError, AttributeError):  # Windows can only select sockets; only glibc has malloc_trim
        if not select.select([requests], [], [], IDLE_SECONDS)[0]:
            ctypes.CDLL(None).malloc_trim(0)
    return requests.readline()


def _answer(answers: BinaryIO, request: dict[str, Any], data: bytes) -> None:
    from imaging.decoding.decode import decode

    limits = Limits(request["max_bytes"], request["max_pixels"])
    begin_request(limits, len(data))
    try:
        decoded = decode(data, request["name"], request["suffix"], limits, request["page"])
    except ImageError as error:
        refusal = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        answers.write(json.dumps(refusal).encode() + b"\n")
        answers.flush()
        return
    samples, metadata = decoded.samples, decoded.metadata
    blobs = [getattr(metadata, blob) or b"" for blob in BLOBS]
    head = {
        "shape": samples.shape,
        "type": samples.dtype.name,
        "bit_depth": decoded.bit_depth,
        "geotiff": list(metadata.geotiff.items()),
        "blobs": [len(blob) for blob in blobs],
        **{name: getattr(metadata, name) for name in PLAIN},
    }
    answers.write(json.dumps(head).encode() + b"\n")
    for blob in blobs:
        answers.write(blob)
    rows = max(1, CHUNK_BYTES // max(1, samples[:1].nbytes))
    for top in range(0, len(samples), rows):
        answers.write(np.ascontiguousarray(samples[top : top + rows]).data)
    answers.flush()


if __name__ == "__main__":
    # Libraries print to the file descriptor 1; the answers go to a copy of it.
    output = os.fdopen(os.dup(1), "wb", buffering=CHUNK_BYTES)
    os.dup2(2, 1)
    serve(sys.stdin.buffer, output)
