"""Memory of the decoding process: kept from one picture to the next, given back while none comes."""

from __future__ import annotations

import io
import sys
import time

import numpy as np
import PIL.Image
import psutil
import pytest

from imaging.decoding import process
from imaging.reading import read_image

PATIENCE_SECONDS = 60
FEW_FAULTS = 5_000
"""A picture of 12 megapixels needs 28,000 new pages."""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux")
def test_a_decoding_process_keeps_its_memory_for_the_next_picture_and_gives_it_back_when_idle() -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(np.zeros((3000, 4000, 3), np.uint8)).save(stream, "JPEG")
    process._pool.close()
    read_image(stream.getvalue())
    (idle,) = process._pool._idle
    worker = psutil.Process(idle._process.pid)
    faults = _faults(worker)
    read_image(stream.getvalue())
    assert _faults(worker) - faults < FEW_FAULTS
    end = time.monotonic() + PATIENCE_SECONDS
    while (kept := worker.memory_info().rss) > 100_000_000:
        assert time.monotonic() < end, f"{kept} bytes are kept"
        time.sleep(0.2)


def _faults(worker: psutil.Process) -> int:
    with open(f"/proc/{worker.pid}/stat") as file:
        return int(file.read().rsplit(")", 1)[1].split()[7])
