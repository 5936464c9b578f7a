"""Decoding cannot hurt: it happens in another process, within bounds, on bytes that were read once."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import PIL.Image
import pillow_heif
import pytest
import tifffile
import torch
from skimage import data

from imaging import limits as bounds
from imaging.decoding import process
from imaging.decoding.decode import decode
from imaging.errors import BrokenImage, Cancelled, ImageError, ImageTooLarge, NoSuchPage
from imaging.image import Image
from imaging.limits import Limits
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.writing import encode_image
from tests.processes import wait_for_end_of

ROOT = Path(__file__).parents[2]


def jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG of many scans that each say nothing new, and cost a pass over the picture."""
    stream = io.BytesIO()
    PIL.Image.fromarray(data.astronaut()).resize((2000, 2000)).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    start = whole.rindex(b"\xff\xda")
    return whole[:start] + whole[start:-2] * scans + b"\xff\xd9"


def tiff_of_directories(count: int) -> bytes:
    entry = struct.pack("<HHHII", 1, 256, 3, 1, 64)
    chain = b"".join(
        entry + struct.pack("<I", 8 + 18 * (index + 1) if index < count - 1 else 0) for index in range(count)
    )
    return b"II*\0" + struct.pack("<I", 8) + chain


def tiff_of_two_widths() -> bytes:
    """Its first width is small, its second, which some readers take, is large."""
    tags = [
        (256, 64),
        (256, 20_000),
        (257, 20_000),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 200),
        (277, 1),
        (278, 20_000),
    ]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, 4096)])
    head = b"II*\0" + struct.pack("<IH", 8, len(tags) + 1)
    return (head + table + bytes(4)).ljust(200, b"\0") + bytes(4096)


def tiff_of_huge_tiles() -> bytes:
    tags = [(256, 64), (257, 64), (258, 8), (259, 1), (262, 1), (277, 1), (322, 1 << 20), (323, 1 << 20), (324, 200)]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (325, 4096)])
    return (b"II*\0" + struct.pack("<IH", 8, len(tags) + 1) + table + bytes(4)).ljust(200, b"\0") + bytes(4096)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "60,000 directories": lambda: tiff_of_directories(60_000),
    "a directory that follows itself": lambda: tiff_of_directories(1)[:-4] + struct.pack("<I", 8),
    "two widths": tiff_of_two_widths,
    "huge tiles": tiff_of_huge_tiles,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_in_bounded_time(kind: str) -> None:
    with pytest.raises(ImageError):
        read_image(HOSTILE[kind](), Limits(max_pixels=1_000_000))
    assert read_image(png()).width == 64  # and the next one is read


def test_decoding_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "wall_seconds", lambda pixels, size: 0.3)
    monkeypatch.setattr(process, "START_SECONDS", 0.0)
    process._pool.close()  # a start takes longer than that
    with pytest.raises(ImageTooLarge, match="too long"):
        read_image(jpeg_of_scans(400))
    monkeypatch.undo()
    assert read_image(png()).width == 64


def test_the_decoder_ends_when_its_processor_time_is_spent() -> None:
    program = (
        "import sys, imaging.decoding.bounds as bounds\n"
        "from imaging.limits import Limits\n"
        "bounds.cpu_seconds = lambda pixels, size: 0\n"
        "bounds.begin_request(Limits(), 0)\n"
        "while True: pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60)
    assert ended.returncode < 0


def test_memory_is_bounded() -> None:
    program = (
        "import imaging.decoding.bounds as bounds, numpy\n"
        "from imaging.limits import Limits\n"
        "bounds.begin_request(Limits(max_bytes=1000, max_pixels=1000), 0)\n"
        "try:\n    numpy.ones(2 << 30, numpy.uint8)\n"
        "except MemoryError:\n    print('refused')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert ended.stdout == "refused\n"
    assert bounds.cpu_seconds(0, 0) < 10


def test_a_cancelled_read_ends_at_once() -> None:
    content, watched, ended = jpeg_of_scans(2000), threading.Event(), threading.Event()

    class Watched(ProgressToken):
        def check(self) -> None:
            watched.set()
            super().check()

    token = Watched()

    def read() -> None:
        with pytest.raises(Cancelled):
            read_image(content, token=token)
        ended.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert watched.wait(60)
    token.cancel()
    thread.join(10)
    assert ended.is_set()
    assert read_image(png()).width == 64


def test_a_process_that_dies_costs_one_picture() -> None:
    read_image(png())
    process._pool._idle[-1]._process.kill()  # while nothing is decoded: another one is started
    process._pool._idle[-1]._process.wait()
    assert read_image(png()).width == 64
    number, slow = process._pool._idle[-1]._process.pid, jpeg_of_scans(2000)
    killer = threading.Timer(0.3, os.kill, (number, signal.SIGSEGV))
    killer.start()
    with pytest.raises(BrokenImage, match="ended the decoder"):
        read_image(slow)
    assert read_image(png()).width == 64


@pytest.mark.parametrize(
    "header",
    [
        b"nonsense",
        b"{}",
        b'{"error": "SystemExit", "message": "", "hint": ""}',
        b'{"shape": [1000000, 1000000, 3], "type": "uint8", "blobs": [0, 0, 0, 0]}',
        b'{"shape": [8, 8, 3], "type": "object", "blobs": [0, 0, 0, 0]}',
        b'{"shape": [8, 8, 3], "type": "uint8", "blobs": [0, 0, 0, 99999999999]}',
    ],
)
def test_what_the_process_says_is_checked(header: bytes) -> None:
    with pytest.raises(BrokenImage, match="confused the decoder"):
        process._parsed(header + b"\n", "picture", Limits(), io.BytesIO())


def png() -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(data.astronaut()[:48, :64]).save(stream, "PNG")
    return stream.getvalue()


def test_reads_of_many_threads_do_not_mix() -> None:
    pictures = {level: np.full((32, 40, 3), level, np.uint8) for level in range(0, 250, 25)}
    wrong: list[int] = []

    def read(level: int) -> None:
        stream = io.BytesIO()
        tifffile.imwrite(stream, pictures[level], photometric="rgb")
        found = [read_image(stream.getvalue()).pixels.mul(255).round().unique().tolist() for _ in range(5)]
        wrong.extend(level for levels in found if levels != [level])

    threads = [threading.Thread(target=read, args=(level,)) for level in pictures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_processes_end_with_their_parent() -> None:
    program = (
        "import sys\nfrom imaging.decoding import process\nfrom imaging.reading import read_image\n"
        "read_image(sys.stdin.buffer.read())\n"
        "print(process._pool._idle[0]._process.pid, flush=True)\n"
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, input=png(), capture_output=True, timeout=120)
    wait_for_end_of(int(ended.stdout))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "JXL"])
def test_a_page_of_a_file_without_pages_is_refused(kind: str) -> None:
    with pytest.raises(NoSuchPage, match="one picture"):
        read_image(encode_image(read_image(png()), kind), page=2)


FAILURES = [
    AssertionError, AttributeError, EOFError, ImportError, IndexError, KeyError, NotImplementedError, OverflowError,
    RecursionError, RuntimeError, StopIteration, SyntaxError, TypeError, UnicodeError, Warning, ZeroDivisionError,
    struct.error, zlib.error,
]  # fmt: skip
DECODERS = {
    "PNG": [(cv2, "imdecode"), (PIL.Image, "open")],
    "JPEG": [(PIL.Image, "open")],
    "WEBP": [(PIL.Image, "open")],
    "TIFF": [(tifffile, "TiffFile"), (PIL.Image, "open")],
    "AVIF": [(pillow_heif, "open_heif"), (imagecodecs, "avif_decode"), (PIL.Image, "open")],
    "JXL": [(imagecodecs, "jpegxl_decode")],
}


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_a_decoder_raises_is_an_image_error(
    monkeypatch: pytest.MonkeyPatch, kind: str, failure: type[Exception]
) -> None:
    """Here in this process: another one, if it ended, would be a broken image all the same."""
    file = encode_image(Image(torch.zeros(3, 16, 16)), kind)

    def fail(*_: object, **__: object) -> None:
        raise failure("of a decoder")

    for library, name in DECODERS[kind]:
        monkeypatch.setattr(library, name, fail)
    with pytest.raises(ImageError):
        decode(file, "photo", "", Limits(), None)


@pytest.mark.parametrize("tag", [274, 282, 296, 700, 33723, 34377, 34665, 34675, 34735, 34853])
def test_metadata_of_any_type_is_no_reason_to_refuse_a_picture(tag: int) -> None:
    for kind in range(14):
        for count, value in ((0, 0), (1, 8), (2, 200), (9, 1 << 31)):
            tags = [
                (256, 4, 1, 16),
                (257, 4, 1, 16),
                (258, 4, 1, 8),
                (259, 4, 1, 1),
                (262, 4, 1, 1),
                (273, 4, 1, 300),
            ]
            tags += [(277, 4, 1, 1), (278, 4, 1, 16), (279, 4, 1, 256), (tag, kind, count, value)]
            table = b"".join(struct.pack("<HHII", *one) for one in sorted(tags))
            whole = (b"II*\0" + struct.pack("<IH", 8, len(tags)) + table + bytes(4)).ljust(300, b"\x01") + bytes(256)
            assert read_image(whole).width == 16, (tag, kind, count)
