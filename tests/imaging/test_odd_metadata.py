"""Metadata that is large, out of range or not ASCII: it is kept or left out, and the picture is read and written."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from PIL import ImageCms

from imaging.output import FORMAT_OF
from imaging.reading import read_image
from imaging.writing import encode_image

ARTIST, LENS, SUB_IFD = 315, 42036, 0x8769
KINDS = sorted(set(FORMAT_OF.values()))
PIXELS = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
NAN, INFINITE = float("nan"), float("inf")
SCALE = (33550, "d", 3, (1.0, 1.0, 0.0), True)


def jpeg(**options: Any) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(stream, "JPEG", **options)
    return stream.getvalue()


def tiff(*tags: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, PIXELS, photometric="rgb", extratags=tags, **options)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["Müllers".encode(), b"M\xfcllers.", "北京 1".encode()], ids=str)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "BMP"])
def test_texts_in_exif_keep_their_bytes(kind: str, name: bytes) -> None:
    exif = PIL.Image.Exif()
    exif[ARTIST], exif.get_ifd(SUB_IFD)[LENS] = "artist01", "lens0001"
    block = exif.tobytes().replace(b"artist01", name).replace(b"lens0001", name)
    made = read_image(bytes(encode_image(read_image(jpeg(exif=block)), kind)))
    assert (made.exif or b"").count(name) == 2


@pytest.mark.parametrize(
    "tags",
    [
        ((34735, "d", 4, (NAN, 1e300, -5.0, 0.0), True),),
        ((34735, "i", 4, (-1, 70_000, -5, 0), True),),
        ((34735, "d", 4, (INFINITE, 1.0, 0.0, 1.0), True),),
        ((34737, "s", 0, b"h\xe4llo|\xff\xfe", True), (42112, "s", 0, "<GDAL>ä</GDAL>".encode(), True)),
        ((33922, "d", 6, (NAN, INFINITE, 0.0, 0.0, 0.0, 0.0), True),),
    ],
    ids=["keys not finite", "keys out of range", "infinite keys", "texts", "places not finite"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_map_tags_of_any_value_do_not_prevent_a_result(kind: str, tags: tuple[Any, ...]) -> None:
    made = encode_image(read_image(tiff(SCALE, *tags)), kind)
    assert read_image(bytes(made)).width == 32


@pytest.mark.parametrize("resolution", [(1e9, 1e9), (70_000, 70_000), (4e9, 1e-9), (0, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_resolutions_out_of_range_are_kept_or_left_out(kind: str, resolution: tuple[float, float]) -> None:
    image = read_image(tiff(resolution=resolution, resolutionunit="INCH"))
    made = read_image(bytes(encode_image(image, kind)))
    if image.dpi:  # otherwise some formats state a default
        assert made.dpi == pytest.approx(resolution, rel=0.01)


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (((700, "B", 17 << 20, b"<" * (17 << 20), True),), "XMP"),
        (((33723, "B", 70 << 20, b"<" * (70 << 20), True),), "IPTC"),
        ((SCALE, (33922, "d", 60_000, tuple(np.linspace(0, 1e9 / 7, 60_000)), True)), "map coordinates"),
    ],
    ids=["XMP", "IPTC", "map"],
)
def test_huge_metadata_is_left_out_with_a_warning(tags: tuple[Any, ...], told: str) -> None:
    image = read_image(tiff(*tags))
    assert any(told in warning for warning in image.warnings)
    assert (image.xmp, image.iptc, image.geotiff) == (None, None, {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_with_a_large_profile_can_be_read_again(kind: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(3 << 20)
    image = read_image(jpeg(icc_profile=profile))
    assert image.icc_profile == profile
    made = read_image(bytes(encode_image(image, kind)))
    assert made.icc_profile in (None, profile)
    assert (made.icc_profile == profile) == (kind not in ("BMP", "JXL"))
