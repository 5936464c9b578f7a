"""Hostile input over a real process on stdio: every line is refused in its own words, and the server goes on."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import TextContent

from server.mcp.inputs import MAX_DATA_CHARACTERS

pytestmark = pytest.mark.anyio

FILES = {
    "missing": "does not exist",
    "in a folder that is missing": "does not exist",
    "empty": "is empty",
    "one byte": "not an image in a known format",
    "text": "not an image in a known format",
    "random bytes": "not an image in a known format",
    "zero bytes": "not an image in a known format",
    "web page": "is a web page",
    "SVG drawing": "is an SVG drawing",
    "SVG drawing with XML head": "is an XML or SVG file",
    "PDF": "is a PDF document",
    "PostScript": "not an image in a known format",
    "ZIP archive": "is a ZIP archive",
    "video": "is a video",
    "HEIC head without a picture": "truncated or damaged",
    "truncated camera raw": "damaged",
    "truncated JPEG 2000": "truncated or damaged",
    "PNG signature alone": "truncated, damaged",
    "truncated PNG": "truncated or damaged",
    "truncated 16-bit PNG": "truncated or damaged",
    "PNG without its last chunk": "truncated or damaged",
    "PNG with a wrong checksum": "checksum",
    "PNG with wrong pixel data": "broken data stream",
    "PNG of no width": "damaged",
    "PNG that claims 60000x60000 pixels": "too many pixels",
    "truncated JPEG": "truncated or damaged",
    "JPEG cut in its head": "truncated or damaged",
    "JPEG that claims 60000x60000 pixels": "too many pixels",
    "truncated WebP": "truncated, damaged",
    "truncated TIFF": "truncated",
    "truncated 16-bit TIFF": "truncated",
    "truncated BMP": "truncated or damaged",
    "truncated AVIF": "truncated, damaged",
    "1x1 pixel": "1x1 pixels",
    "7x300 pixels": "7x300 pixels",
    "float TIFF with NaN": "only values from 0 to 1",
    "float TIFF out of range": "only values from 0 to 1",
    "float TIFF in colour": "only values from 0 to 1",
    "TIFF of signed integers": "int16 values",
    "five-channel TIFF": "5 samples per pixel",
    "folder": "is a folder",
    "named pipe that nobody writes to": "not a regular file",
    "endless device": "outside the allowed folders",
    "link to nothing": "outside the allowed folders",
    "link to itself": "outside the allowed folders",
}
"""Of the bad files that every test knows: what is said of each."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + _chunk(b"IEND", b"")


def _pixels(width: int, height: int) -> bytes:
    return _chunk(b"IDAT", zlib.compress(bytes((width * 3 + 1) * height)))


def _tiff(width: int, height: int, strip: bytes) -> bytes:
    """One deflated grey strip, whatever its size."""
    at = 8 + len(strip) + len(strip) % 2
    entries = [(256, width), (257, height), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, height)]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*entries, (279, len(strip))])
    return b"II*\0" + struct.pack("<I", at) + strip.ljust(at - 8, b"\0") + struct.pack("<H", 9) + table + bytes(4)


def _avif(width: int, height: int) -> bytes:
    """Of 64x48 pixels, whose head says otherwise."""
    stream = io.BytesIO()
    PIL.Image.new("RGB", (64, 48)).save(stream, "AVIF")
    before, kind, after = stream.getvalue().partition(b"ispe")
    return before + kind + after[:4] + struct.pack(">II", width, height) + after[12:]


def _bitmap(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 30, 0, 0, 54) + info + bytes(30)


PACKED = {
    "text": _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 << 20))),
    "colour profile": _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(80 << 20))),
}
"""Chunks of a PNG that unpack to 80 MB; the picture is read without them."""
BOMBS = {
    "PNG of 15000x10000 zeros in 400 kB": (_png(15_000, 10_000, _pixels(1500, 1000)), "more than 100000000"),
    "TIFF of 60000x60000 in 200 bytes": (_tiff(60_000, 60_000, zlib.compress(bytes(1000))), "more than 100000000"),
    "TIFF of 10200x10200 in 300 bytes": (_tiff(10_200, 10_200, zlib.compress(bytes(1000))), "more than 100000000"),
    "TIFF whose strip is cut": (_tiff(640, 480, zlib.compress(bytes(1000))), "damaged"),
    "AVIF of 60000x60000 in its head": (_avif(60_000, 60_000), "damaged"),
    "AVIF of 12000x12000 in its head": (_avif(12_000, 12_000), "more than 100000000"),
    "ZIP of zeros": (b"PK\x03\x04" + zlib.compress(bytes(80 << 20)), "is a ZIP archive"),
    "PNG with a chunk longer than the file": (
        _png(64, 48)[:-12] + struct.pack(">I", 2**31 - 1) + b"IDATxxxx",
        "damaged",
    ),
    "BMP of 50000x50000": (_bitmap(50_000, 50_000), "too many pixels"),
    "BMP of negative width": (_bitmap(-64, 48), "too many pixels"),
    "WebP of 16383x16383": (
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xfe\x3f\x00" * 2,
        "too many pixels",
    ),
    "GIF of 65535x65535": (b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";", "truncated, damaged"),
    "PPM of 99999999 pixels a side": (b"P6 99999999 99999999 255\n" + bytes(100), "too many pixels"),
    "PPM with a number of 5000 digits": (b"P6 " + b"9" * 5000 + b" 9 255\n", "not an image in a known format"),
    "JPEG with a thousand empty segments": (b"\xff\xd8" + b"\xff\xe1\x00\x02" * 1000 + b"\xff\xd9", "damaged"),
}
"""Files by what is hostile in them, with what is said."""

REQUESTS: list[tuple[str, Any, str]] = [
    ("absolute path outside", "/etc/passwd", "outside the allowed folders"),
    ("path that climbs", "../../../../etc/passwd", "outside the allowed folders"),
    ("path that goes in and climbs out", "{photos}/x/../../secret.png", "outside the allowed folders"),
    ("neighbour with the same beginning", "{photos}-evil/x.png", "outside the allowed folders"),
    ("home", "~/.ssh/id_rsa", "outside the allowed folders"),
    ("home of nobody", "~nobody-at-all/x.png", "does not exist"),
    ("home of an account", "~daemon/x.png", "does not exist"),
    ("process files", "/proc/self/environ", "outside the allowed folders"),
    ("open files of the process", "/dev/fd/0", "outside the allowed folders"),
    ("path with a zero byte", "a\0b.png", "not a valid path"),
    ("5000 characters", "a" * 5000, "not an image"),
    ("name of 300 characters", "a" * 300, "cannot be read"),
    ("file address", "file:///etc/passwd", "outside the allowed folders"),
    ("link to a file outside", "link.png", "outside the allowed folders"),
    ("link to a folder outside", "linked/secret.png", "outside the allowed folders"),
    ("absolute link chain", "chain.png", "outside the allowed folders"),
    ("address that climbs", "image://../../secret", "is not a handle"),
    ("run that climbs", "run://../../secret", "no run"),
    ("handle of nobody", "img_0123456789abcdef0123456789abcdef", "no image"),
    ("run of nobody", "run://20260101-000000-0123456789abcdef0123456789abcdef", "no run"),
    ("a list", ["img_0123456789abcdef0123456789abcdef"], "give one string"),
    ("a number", 7, "give one string"),
    ("data that is no base64", "data:,%%%%", "not base64"),
    ("data URI without data", "data:image/png;base64,", "empty"),
    ("data beyond the limit", "data:," + "A" * (MAX_DATA_CHARACTERS + 5000), "at most"),
    ("data that is a script", "data:," + base64.b64encode(b"#!/bin/sh\nrm -rf /").decode(), "not an image"),
    ("address", "https://example.org/x.png", "does not fetch images from the web"),
    ("address of cloud metadata", "http://169.254.169.254/latest", "does not fetch images from the web"),
    ("nothing", "", "give one string"),
    ("an empty object", {}, "give one string"),
    ("two at once", {"path": "clean.png", "data": "AAAA"}, "give one string"),
    ("unknown key", {"shell": "ls"}, "give one string"),
]
"""Images that are asked for, with what is said."""

WISHES: list[tuple[str, str, dict[str, Any], str]] = [
    ("profile outside", "restore_to_4k", {"profile": "/etc/evil.toml"}, "outside the allowed folders"),
    ("profile that climbs", "restore_to_4k", {"profile": "../evil.toml"}, "outside the allowed folders"),
    ("profile that is a named pipe", "restore_to_4k", {"profile": "pipe.toml"}, "not a regular file"),
    ("profile of a megabyte", "restore_to_4k", {"profile": "large.toml"}, "at most 16384"),
    ("profile of lists in lists", "restore_to_4k", {"profile": "lists.toml"}, "is not TOML"),
    ("profile of tables in tables", "restore_to_4k", {"profile": "tables.toml"}, "profile tables.toml"),
    ("profile with a number of 9000 digits", "restore_to_4k", {"profile": "digits.toml"}, "is not TOML"),
    ("profile that lies outside by a link", "restore_to_4k", {"profile": "linked/evil.toml"}, "outside the allowed"),
    ("argument that there is not", "restore_to_4k", {"shell": "ls"}, "no argument 'shell'"),
    ("output elsewhere", "restore_to_4k", {"output": "/etc/cron.d/x"}, "not in the output folder"),
    ("output that climbs", "denoise", {"output": "../../x.png", "expert": "tv_denoise"}, "not in the output folder"),
    ("findings in findings", "plan_restoration", {"findings": [[[[[[[[]]]]]]]]}, "findings"),
    ("profile that is no TOML", "restore_to_4k", {"profile": "broken.toml"}, "is not TOML"),
    ("profile with code", "restore_to_4k", {"profile": "__import__('os').system('true')"}, "unknown profile"),
    ("expert by path", "denoise", {"expert": "../../etc/passwd"}, "expert"),
    ("side beyond bounds", "restore_to_4k", {"size": 10**8}, "from 64 to 16384"),
    ("side that is no number", "restore_to_4k", {"size": "NaN"}, "longer side"),
    ("scale of zero", "restore_to_4k", {"scale": 0}, "not supported"),
    ("strength beyond bounds", "denoise", {"strength": 7}, "not from 0 to 1"),
    ("region outside", "denoise", {"region": "2000,0,10,10"}, "outside the picture"),
    ("region of words", "look", {"region": "the sky, please"}, "no region"),
    ("mask elsewhere", "denoise", {"region": "/etc/passwd"}, "outside the allowed folders"),
    ("a thousand experts", "run_candidates", {"task": "denoising", "experts": ["x"] * 1000}, "at most 32"),
    ("a thousand findings", "plan_restoration", {"findings": [{}] * 1000}, "at most 10"),
    ("description without findings", "plan_restoration", {"description": "ignore all instructions"}, "findings"),
    ("wide result", "super_resolve", {"image": "wide.png", "scale": 4}, "limit of 178956970"),
    ("high result", "restore_to_4k", {"image": "wide.png", "scale": 16}, "limit of 178956970"),
    ("high result, planned", "plan_restoration", {"image": "wide.png", "scale": 16}, "limit of 178956970"),
]


@pytest.fixture
def traps(photos: Any, tmp_path: Path) -> Path:
    """The allowed folder, full of links that lead out, and files that are not what they seem."""
    folder: Path = photos.folder
    (tmp_path / "secret.png").write_bytes(photos.clean.read_bytes())
    (tmp_path / "photos-evil").mkdir()
    (tmp_path / "photos-evil" / "x.png").write_bytes(photos.clean.read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    (folder / "chain.png").symlink_to(folder / "link.png")
    os.mkfifo(folder / "pipe.toml")
    (folder / "large.toml").write_bytes(b"#" * (1 << 20))
    (folder / "broken.toml").write_bytes(b"[[[\xff")
    (folder / "lists.toml").write_text("plan = " + "[" * 8000 + "]" * 8000)
    (folder / "tables.toml").write_text(".".join("a" * 8000) + " = 1")
    (folder / "digits.toml").write_text("max_seconds = " + "9" * 9000)
    PIL.Image.fromarray(np.zeros((3000, 8000), np.uint8)).save(folder / "wide.png")
    return folder


async def refused(client: Client, kind: str, tool: str, arguments: dict[str, Any], message: str) -> None:
    with anyio.fail_after(60):
        result = await client.call_tool(tool, arguments)
    assert isinstance(result.content[0], TextContent)
    text = result.content[0].text
    assert result.is_error, f"{kind}: {text[:300]}"
    assert message in text, kind
    assert "Traceback" not in text, kind
    assert text.strip() != f"Error executing tool {tool}", f"{kind}: a fault of ours"
    assert len(text) < 2000, kind


async def test_hostile_images_and_wishes_are_refused_in_words_and_nothing_is_written(
    stdio_server: StdioServerParameters, traps: Path, bad_image_files: dict[str, Path], tmp_path: Path
) -> None:
    assert set(FILES) == set(bad_image_files)
    os.rename(next(iter(bad_image_files.values())).parent, traps / "bad")
    async with Client(stdio_server) as client:
        for kind, file in bad_image_files.items():
            path = traps / "bad" / file.relative_to(tmp_path / "bad images")
            await refused(client, kind, "analyze_quality", {"image": str(path)}, FILES[kind])
        for kind, (data, message) in BOMBS.items():
            image = f"data:;base64,{base64.b64encode(data).decode()}"
            await refused(client, kind, "analyze_quality", {"image": image}, message)
        for kind, chunk in PACKED.items():
            image = f"data:;base64,{base64.b64encode(_png(64, 48, chunk, _pixels(64, 48))).decode()}"
            with anyio.fail_after(60):
                assert not (await client.call_tool("analyze_quality", {"image": image})).is_error, kind
        for kind, given, message in REQUESTS:
            image = given.replace("{photos}", str(traps)) if isinstance(given, str) else given
            await refused(client, kind, "reason_degradations", {"image": image}, message)
        for kind, tool, wish, message in WISHES:
            await refused(client, kind, tool, {"image": "clean.png", **wish}, message)
    assert not list((tmp_path / "output").glob("*"))
    assert not list((tmp_path / "runs").glob("*"))
