"""The process that runs one ONNX graph, whose file is not trusted: on certain pictures it may loop, grow or crash.

The parent's side is `toolbox.graph_process`. A message is a line of JSON, followed by the bytes of a tile. The
process ends with its stdin, even while the graph runs.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np

from imaging.child import limit_memory

Request = tuple[dict[str, Any], bytes]
MOST_WORDS = 500


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Open the graph of the first request, and run it for each further one."""
    queue = SimpleQueue[Request]()
    threading.Thread(target=_read, args=(requests, queue), daemon=True).start()
    session = None
    while True:
        request, data = queue.get()
        result = None
        try:
            if session is None:
                session = _opened(request)
                inputs = session.get_inputs()
                head: dict[str, Any] = {
                    "shapes": [list(each.shape) for each in inputs],
                    "types": [each.type for each in inputs],
                    "outputs": len(session.get_outputs()),
                }
            else:
                tile = np.frombuffer(data, request["type"]).reshape(request["shape"])
                result = np.ascontiguousarray(session.run(None, {session.get_inputs()[0].name: tile})[0], "float32")
                head = {"shape": result.shape}
        except Exception as error:  # the errors of onnxruntime have no other common base class
            head = {"error": (str(error) or type(error).__name__).split("\n", 1)[0][:MOST_WORDS]}
            result = None
        answers.write(json.dumps(head).encode() + b"\n")
        if result is not None:
            answers.write(result.data.cast("B") if result.size else b"")
        answers.flush()
        del data, result


def _read(requests: BinaryIO, queue: SimpleQueue[Request]) -> None:
    while line := requests.readline():
        request = json.loads(line)
        queue.put((request, requests.read(request.get("size", 0))))
    os._exit(0)


def _opened(request: dict[str, Any]) -> Any:
    limit_memory(request["memory"])
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.log_severity_level = 3
    wanted = ["CPUExecutionProvider"]
    if request["gpu"] and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls()  # those of torch
        wanted.insert(0, "CUDAExecutionProvider")
    return onnxruntime.InferenceSession(request["file"], options, providers=wanted)


if __name__ == "__main__":
    # Libraries print to the file descriptor 1; the answers go to a copy of it.
    output = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)
    serve(sys.stdin.buffer, output)
