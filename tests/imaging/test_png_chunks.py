"""Transparency and colour spaces as the chunks of a PNG state them."""

from __future__ import annotations

import struct
import zlib

import imagecodecs
import numpy as np
import pytest

from imaging.convert import to_numpy
from imaging.decoding.colour import PRIMARIES, rgb_profile, srgb_decoded, srgb_encoded
from imaging.image import Image
from imaging.network_space import in_file_space, in_network_space
from imaging.reading import read_image
from tests.imaging.test_formats import UNIT, as_type


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("colour", [False, True])
def test_the_transparent_colour_of_a_png_becomes_alpha(deep: bool, colour: bool) -> None:
    values = as_type(UNIT if colour else UNIT[..., :1], "16 bit" if deep else "8 bit").astype(">u2" if deep else "u1")
    values[:20, :20] = 7
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    head = struct.pack(">IIBBBBB", 64, 48, 16 if deep else 8, 2 if colour else 0, 0, 0, 0)
    transparent = struct.pack(">H", 7) * (3 if colour else 1)
    content = png(head, [(b"tRNS", transparent)], rows)
    image = read_image(content)
    assert image.alpha is not None
    assert image.bit_depth == (16 if deep else 8)
    assert image.greyscale != colour
    assert float(image.alpha[0, :20, :20].max()) == 0
    assert float(image.alpha[0, 20:, 20:].mean()) > 0.99


def png(head: bytes, chunks: list[tuple[bytes, bytes]], rows: bytes) -> bytes:
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def rgb_png(values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bit."""
    stored = np.rint(np.clip(values, 0, 1) * 65535).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    return png(struct.pack(">IIBBBBB", 64, 48, 16, 2, 0, 0, 0), list(chunks), rows)


def as_srgb(image: Image) -> np.ndarray:
    """The colours as a viewer with colour management shows them."""
    values = np.ascontiguousarray(to_numpy(in_file_space(image).pixels))
    if image.icc_profile is None:
        return values
    rgb = imagecodecs.cms_transform(
        values, image.icc_profile, imagecodecs.cms_profile("srgb"), colorspace="rgb", outcolorspace="rgb"
    )
    return np.asarray(rgb)


P3 = [(0.3127, 0.329), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)]

CHRM = struct.pack(">8I", *(round(100_000 * number) for point in P3 for number in point))

NITS = 203.0


def pq(light: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, of light relative to 203 nits."""
    power = (light * NITS / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def to_primaries(light: np.ndarray, primaries: int, before: int = 1) -> np.ndarray:
    linear = rgb_profile(PRIMARIES[primaries], gamma=1.0)
    source = rgb_profile(PRIMARIES[before], gamma=1.0)
    assert linear is not None
    assert source is not None
    rgb = imagecodecs.cms_transform(
        light.astype(np.float32), source, linear, colorspace="rgb", outcolorspace="rgb", intent=1
    )
    return np.clip(np.asarray(rgb), 0, 1)


LIGHT = srgb_decoded(UNIT)

SPACES: dict[str, tuple[np.ndarray, tuple[tuple[bytes, bytes], ...]]] = {
    "sRGB": (UNIT, ((b"sRGB", b"\0"),)),
    "gAMA of sRGB": (UNIT, ((b"gAMA", struct.pack(">I", 45455)),)),
    "gAMA 1.0": (LIGHT, ((b"gAMA", struct.pack(">I", 100_000)),)),
    "cICP of sRGB": (UNIT, ((b"cICP", bytes([1, 13, 0, 1])),)),
    "cICP linear": (LIGHT, ((b"cICP", bytes([1, 8, 0, 1])),)),
    "cICP P3": (srgb_encoded(to_primaries(LIGHT, 12)), ((b"cICP", bytes([12, 13, 0, 1])),)),
    "cHRM P3": (to_primaries(LIGHT, 12) ** (1 / 2.2), ((b"gAMA", struct.pack(">I", 45455)), (b"cHRM", CHRM))),
    "cICP PQ": (pq(to_primaries(LIGHT, 9)), ((b"cICP", bytes([9, 16, 0, 1])),)),
}


@pytest.mark.parametrize("space", SPACES)
def test_a_colour_space_named_without_a_profile_is_kept_or_converted_once(space: str) -> None:
    values, chunks = SPACES[space]
    image = read_image(rgb_png(values, *chunks))
    assert np.abs(as_srgb(image) - UNIT).max() < 0.02
    if space in ("sRGB", "gAMA of sRGB", "cICP of sRGB", "cICP PQ"):
        assert image.icc_profile is None
    for_networks = in_network_space(image)
    # Networks see the same light and dark, whatever the container.
    assert np.abs(to_numpy(for_networks.pixels).mean(2) - UNIT.mean(2)).max() < 0.06
    assert np.abs(to_numpy(in_file_space(for_networks).pixels) - to_numpy(image.pixels)).max() < 1e-4


@pytest.mark.parametrize("gamut", [1, 12, 9])
def test_a_pq_picture_gets_the_smallest_gamut_that_holds_its_colours(gamut: int) -> None:
    saturated = np.zeros((48, 64, 3))
    saturated[:16, :, 0] = saturated[16:32, :, 1] = saturated[32:, :, 2] = np.linspace(0, 1, 64)
    image = read_image(rgb_png(pq(to_primaries(saturated, 9, before=gamut)), (b"cICP", bytes([9, 16, 0, 1]))))
    assert image.icc_profile == rgb_profile(PRIMARIES[gamut])
    assert np.abs(to_numpy(image.pixels) - srgb_encoded(saturated)).max() < 0.02


def test_highlights_beyond_white_are_compressed_with_a_warning() -> None:
    ramp = np.broadcast_to(np.linspace(0, 5, 64)[None, :, None], (48, 64, 3))
    image = read_image(rgb_png(pq(ramp), (b"cICP", bytes([9, 16, 0, 1]))))
    assert "highlights up to 5.0 times white" in image.warnings[0]
    line = image.pixels[0, 0].numpy()
    assert bool((np.diff(line) > 0).all())
    assert np.abs(line[:10] - srgb_encoded(ramp[0, :10, 0])).max() < 0.01


MALFORMED = [(kind, bytes(size)) for kind in (b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"acTL") for size in (0, 3, 50)]
MALFORMED += [(kind, text) for kind in (b"iCCP", b"zTXt") for text in (b"key\0\7" + zlib.compress(b"x"), b"\0\1x")]
MALFORMED += [(b"iCCP", b""), (b"iCCP", b"no separator"), (b"iCCP", b"key\0")]


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("kind", "content"), MALFORMED)
def test_a_malformed_chunk_beside_the_pixels_is_left_out_with_a_warning(
    kind: bytes, content: bytes, depth: int
) -> None:
    rows = b"".join(b"\0" + bytes(range(64 * 3)) * (depth // 8) for _ in range(48))
    head = struct.pack(">IIBBBBB", 64, 48, depth, 2, 0, 0, 0)
    image, sound = (read_image(png(head, chunks, rows)) for chunks in ([(kind, content)], []))
    assert image.pixels.equal(sound.pixels)
    assert image.icc_profile is None
    assert [warning for warning in image.warnings if kind.decode() in warning and "left out" in warning]
