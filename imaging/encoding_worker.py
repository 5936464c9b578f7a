"""The process that encodes one picture, started by `imaging.encoders.in_process`, which alone writes to it."""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from typing import BinaryIO

import numpy as np

from imaging.child import read_into
from imaging.encoders import by_library
from imaging.errors import OutputError


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer one request: a line of JSON and the options, another line and the pixels."""
    request = json.loads(requests.readline())
    options = pickle.loads(requests.read(request["size"]))  # from our own parent
    requests.readline()
    array = np.empty(request["shape"], request["type"])
    read_into(requests, array.data.cast("B"))
    threading.Thread(target=_end_with_parent, args=(requests,), daemon=True).start()
    try:
        data = by_library(array, request["kind"], options)
    except OutputError as error:
        answers.write(json.dumps({"error": error.message, "hint": error.hint}).encode() + b"\n")
    else:
        answers.write(json.dumps({"size": len(data)}).encode() + b"\n")
        answers.write(data)
    answers.flush()


def _end_with_parent(requests: BinaryIO) -> None:
    requests.read(1)
    os._exit(0)


if __name__ == "__main__":
    # Libraries print to the file descriptor 1; the answer goes to a copy of it.
    output = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)
    serve(sys.stdin.buffer, output)
