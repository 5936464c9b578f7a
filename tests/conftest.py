"""A real photo for everybody, and every kind of file that is no picture that can be restored."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
import tifffile

from imaging.convert import from_numpy, to_float
from imaging.image import Image
from tests.hostile_hosts import hostile_hosts

SMALL = (64, 48)
FAST = (
    "agent/reasoners/test_factory.py",
    "agent/reasoners/test_reasoners.py",
    "agent/reasoners/test_sheet.py",
    "agent/test_judging.py",
    "agent/test_planning.py",
    "agent/test_rollback_decisions.py",
    "benchmarks",
    "imaging",
    "iqa/test_candidate_score.py",
    "iqa/test_consistency.py",
    "iqa/test_content.py",
    "iqa/test_crops.py",
    "iqa/test_full_reference.py",
    "iqa/test_metric.py",
    "iqa/test_niqe.py",
    "iqa/test_no_reference_fidelity.py",
    "iqa/test_parameters.py",
    "iqa/test_quality.py",
    "profiles/test_profiles.py",
    "server/auth/test_access.py",
    "server/mcp/test_fair_queue.py",
    "server/mcp/test_schemas.py",
    "server/mcp/test_workspace.py",
    "test_architecture.py",
    "test_docs.py",
    "toolbox/test_aliases.py",
    "toolbox/test_catalogue.py",
    "toolbox/test_expert.py",
    "toolbox/test_graph.py",
    "toolbox/test_pool.py",
    "training/data/test_loading.py",
    "training/fits/test_logistic.py",
    "training/fits/test_order.py",
)
"""Files and folders marked `fast`: less than two minutes in all on two cores."""
SLOW = (
    "server/test_packaging.py",
    "toolbox/test_diffusion.py",
    "toolbox/test_diffusion_files.py",
    "toolbox/test_published_forms.py",
    "toolbox/test_real_weights.py",
    "training",
)
"""Those marked `slow`; what is in both lists is fast."""


def is_in_set(file: Path, listed: tuple[str, ...]) -> bool:
    """Whether a test file, or a folder that holds it, is listed."""
    path = file.relative_to(Path(__file__).parent)
    return any(place.as_posix() in listed for place in (path, *path.parents))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m fast` other files are not even imported."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if config.option.markexpr == "fast" and is_test and not is_in_set(collection_path, FAST) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_in_set(item.path, FAST):
            item.add_marker("fast")
        elif is_in_set(item.path, SLOW):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def photo() -> Image:
    """512x512 pixels."""
    return Image(from_numpy(to_float(skimage.data.astronaut())))


@pytest.fixture
def photo_file(tmp_path: Path) -> Path:
    """The same photo as a PNG."""
    file = tmp_path / "photo.png"
    PIL.Image.fromarray(skimage.data.astronaut()).save(file, compress_level=1)
    return file


@pytest.fixture
def bad_image_files(tmp_path: Path) -> dict[str, Path]:
    """Paths by what is wrong with them; nothing that reads one of them may give a picture, or hang."""
    folder = tmp_path / "bad images"
    folder.mkdir()
    files = {"missing": folder / "missing.png", "in a folder that is missing": folder / "absent" / "photo.png"}
    for kind, (name, data) in _bad_bytes().items():
        files[kind] = folder / name
        files[kind].write_bytes(data)
    for kind, (name, make) in ODD_ENTRIES.items():
        files[kind] = folder / name
        make(files[kind])
    return files


ODD_ENTRIES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "folder": ("folder.png", Path.mkdir),
    "named pipe that nobody writes to": ("pipe.png", os.mkfifo),
    "endless device": ("zero.png", lambda path: path.symlink_to("/dev/zero")),
    "link to nothing": ("dangling.png", lambda path: path.symlink_to(path.with_name("nothing.png"))),
    "link to itself": ("loop.png", lambda path: path.symlink_to(path)),
}


def _bad_bytes() -> dict[str, tuple[str, bytes]]:
    """File name and content by kind."""
    noise = np.random.default_rng(0)
    rgb = noise.integers(0, 256, (*SMALL[::-1], 3), dtype=np.uint8)
    deep = noise.integers(0, 65536, (*SMALL[::-1], 3), dtype=np.uint16)
    floats = noise.random((*SMALL[::-1], 3), dtype=np.float32)
    with_nan, out_of_range = floats.copy(), floats * 300 - 20
    with_nan[5, 5] = np.nan
    png, jpeg, tiff = encoded(rgb, "PNG"), encoded(rgb, "JPEG"), encoded(rgb, "TIFF", compression="tiff_lzw")
    webp, bmp, avif = encoded(rgb, "WEBP"), encoded(rgb, "BMP"), encoded(rgb, "AVIF")
    return {
        "empty": ("empty.jpg", b""),
        "one byte": ("byte.png", b"\x89"),
        "text": ("text.png", b"This is not a picture.\n" * 50),
        "random bytes": ("random.jpg", noise.bytes(5000)),
        "zero bytes": ("zeros.png", bytes(5000)),
        "web page": ("page.jpg", b"<!DOCTYPE html><html><title>404 Not Found</title></html>"),
        "SVG drawing": ("drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        "SVG drawing with XML head": ("xml.png", b'<?xml version="1.0"?><svg width="9" height="9"/>'),
        "PDF": ("document.jpg", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF\n"),
        "PostScript": ("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\nshowpage\n"),
        "ZIP archive": ("archive.png", zip_archive()),
        "video": ("clip.jpg", struct.pack(">I", 24) + b"ftypisom\x00\x00\x02\x00isomiso2mp41" + noise.bytes(4000)),
        "HEIC head without a picture": ("phone.heic", struct.pack(">I", 24) + b"ftypheic" + bytes(4000)),
        "truncated camera raw": ("camera.raf", b"FUJIFILMCCD-RAW 0201" + noise.bytes(3000)),
        "truncated JPEG 2000": ("wavelets.jp2", (whole := encoded(rgb, "JPEG2000"))[: len(whole) // 2]),
        "PNG signature alone": ("signature.png", png[:8]),
        "truncated PNG": ("cut.png", png[: len(png) // 2]),
        "truncated 16-bit PNG": ("cut deep.png", (whole := deep_png(deep))[: len(whole) // 2]),
        "PNG without its last chunk": ("endless.png", png[:-12]),
        "PNG with a wrong checksum": ("checksum.png", flipped(png, png.index(b"IDAT") + 4 + 100)),
        "PNG with wrong pixel data": ("garbage.png", png_of(*SMALL, noise.bytes(500))),
        "PNG of no width": ("no width.png", png_of(0, 48, b"")),
        "PNG that claims 60000x60000 pixels": ("bomb.png", png_of(60_000, 60_000, zlib.compress(bytes(10_000)))),
        "truncated JPEG": ("cut.jpg", jpeg[: len(jpeg) // 2]),
        "JPEG cut in its head": ("cut head.jpg", jpeg[:30]),
        "JPEG that claims 60000x60000 pixels": ("bomb.jpg", jpeg_claiming(jpeg, 60_000)),
        "truncated WebP": ("cut.webp", webp[: len(webp) // 2]),
        "truncated TIFF": ("cut.tif", tiff[: len(tiff) // 2]),
        "truncated 16-bit TIFF": ("cut deep.tif", (whole := tiff_of(deep))[: len(whole) // 2]),
        "truncated BMP": ("cut.bmp", bmp[: len(bmp) // 2]),
        "truncated AVIF": ("cut.avif", avif[: len(avif) // 2]),
        "1x1 pixel": ("dot.png", encoded(rgb[:1, :1], "PNG")),
        "7x300 pixels": ("strip.png", encoded(np.zeros((300, 7, 3), np.uint8), "PNG")),
        "float TIFF with NaN": ("nan.tif", tiff_of(with_nan[:, :, 0])),
        "float TIFF out of range": ("range.tif", tiff_of(out_of_range[:, :, 0])),
        "float TIFF in colour": ("nan colour.tif", tiff_of(with_nan)),
        "TIFF of signed integers": ("signed.tif", tiff_of(deep[:, :, 0].astype(np.int16))),
        "five-channel TIFF": ("bands.tif", tiff_of(noise.integers(0, 65536, (48, 64, 5), dtype=np.uint16))),
    }


def encoded(array: np.ndarray, kind: str, **options: Any) -> bytes:
    """A whole file by Pillow."""
    stream = io.BytesIO()
    PIL.Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def tiff_of(array: np.ndarray) -> bytes:
    """A whole TIFF of any number type."""
    stream = io.BytesIO()
    photometric = "rgb" if array.shape[2:] == (3,) else "minisblack"
    tifffile.imwrite(stream, array, photometric=photometric, planarconfig="contig", metadata=None)
    return stream.getvalue()


def zip_archive() -> bytes:
    """With one text file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("photo.txt", "no photo")
    return stream.getvalue()


def png_of(width: int, height: int, data: bytes, depth: int = 8) -> bytes:
    """A PNG of RGB pixels whose head says what we want and whose compressed data is `data`."""
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def deep_png(array: np.ndarray) -> bytes:
    """A 16-bit PNG of (H, W, 3) uint16."""
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in array)
    return png_of(array.shape[1], array.shape[0], zlib.compress(rows), depth=16)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flipped(data: bytes, place: int) -> bytes:
    """One byte changed."""
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def jpeg_claiming(jpeg: bytes, side: int) -> bytes:
    """A JPEG whose frame header says that it is `side` pixels wide and high."""
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + struct.pack(">HH", side, side) + jpeg[frame + 9 :]


@pytest.fixture
def hostile_host() -> Iterator[Callable[[str], str]]:
    """Starts one of `HOSTILE`, and gives its URL."""
    with hostile_hosts() as start:
        yield start


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium, for Playwright."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium is installed; Debian's package chromium provides it")
    return program
