"""Whatever the file, the picture that comes in is the one that was meant, or one clear error."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tifffile
from PIL import ImageCms
from skimage import data

from imaging.convert import to_numpy
from imaging.decoding.decode import PILLOW_FORMATS
from imaging.image import Image
from imaging.jpeg_table import quantization_relative_to_q50
from imaging.reading import READABLE, read_image

PICTURE = np.ascontiguousarray(data.astronaut()[100:148, 200:264])
"""48 rows of 64 pixels."""
ALPHA = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8), (48, 64))
DEEP = np.random.default_rng(0).integers(0, 65536, (48, 64, 4), dtype=np.uint16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION, MAKER = 0x0112, 0x010F


def pillow(mode: str) -> PIL.Image.Image:
    """The picture in one of Pillow's modes; modes with A have a gradient of alpha."""
    picture = PIL.Image.fromarray(PICTURE)
    if mode.endswith("A"):
        picture.putalpha(PIL.Image.fromarray(ALPHA))
    return picture.quantize(32) if mode == "P" else picture.convert(mode)


def encoded(picture: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def colours(image: Image) -> np.ndarray:
    return to_numpy(image.pixels)


def assert_same(image: Image, expected: PIL.Image.Image) -> None:
    """Colours, and alpha where the expected picture has some."""
    rgba = np.asarray(expected.convert("RGBA"), np.float32) / 255
    assert np.abs(colours(image) - rgba[:, :, :3]).max() < 1e-6
    if expected.has_transparency_data:
        assert image.alpha is not None
        assert np.abs(to_numpy(image.alpha)[:, :, 0] - rgba[:, :, 3]).max() < 1e-6
    else:
        assert image.alpha is None


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(("TIFF", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(("TIFF", mode, {"compression": "tiff_lzw"}) for mode in ("L", "RGB")),
        *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB")),
        *(("WEBP", mode, {"lossless": True, "exact": True}) for mode in ("RGB", "RGBA")),
        *(("GIF", mode, {}) for mode in ("L", "P")),
        *(("PPM", mode, {}) for mode in ("1", "L", "RGB")),
    ],
)
def test_lossless_files_of_every_mode_are_read_exactly(kind: str, mode: str, options: dict[str, Any]) -> None:
    picture = pillow(mode)
    image = read_image(encoded(picture, kind, **options))
    assert_same(image, picture)
    assert image.bit_depth == 8
    if mode in ("1", "L", "LA") and kind != "GIF":
        assert image.greyscale


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "L"), ("JPEG", "RGB"), ("WEBP", "RGB"), ("AVIF", "RGB"), ("AVIF", "RGBA")]
)
def test_lossy_files_are_read_as_pillow_reads_them(kind: str, mode: str) -> None:
    content = encoded(pillow(mode), kind, quality=90)
    with PIL.Image.open(io.BytesIO(content)) as expected:
        assert_same(read_image(content), expected)


@pytest.mark.parametrize(("quality", "steps"), [(95, 0.1), (75, 0.5), (50, 1.0), (25, 2.0)])
def test_a_jpeg_tells_how_coarse_it_is(quality: int, steps: float) -> None:
    for mode in ("L", "RGB"):
        quantization = read_image(encoded(pillow(mode), "JPEG", quality=quality)).quantization_relative_to_q50
        assert quantization == pytest.approx(steps, abs=0.02)
    assert read_image(encoded(pillow("RGB"), "WEBP", quality=quality)).quantization_relative_to_q50 is None


@pytest.mark.parametrize("tables", [None, {}, {0: [1, 2, 3]}, {1: [16] * 64}, {0: ["?"] * 64}, [[[8]] * 64], 7])
def test_an_invalid_quantization_table_is_ignored(tables: object) -> None:
    assert quantization_relative_to_q50(tables) is None


def test_a_transparent_palette_entry_becomes_alpha() -> None:
    picture = pillow("P")
    content = encoded(picture, "PNG", transparency=int(np.asarray(picture)[0, 0]))
    image = read_image(content)
    assert image.alpha is not None
    assert float(image.alpha[0, 0, 0]) == 0
    assert float(image.alpha.max()) == 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_becomes_alpha(mode: str) -> None:
    picture = pillow(mode)
    transparent = picture.getpixel((0, 0))
    image = read_image(encoded(picture, "PNG", transparency=transparent))
    assert image.alpha is not None
    assert float(image.alpha[0, 0, 0]) == 0
    assert image.greyscale == (mode == "L")


@pytest.mark.parametrize("kind", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_files_are_read_to_the_last_bit(tmp_path: Path, kind: str, channels: int) -> None:
    array, file = DEEP[:, :, :channels].squeeze(), tmp_path / f"deep{kind}"
    if kind == ".tif":
        extra = ["unassalpha"] if channels == 4 else None
        tifffile.imwrite(file, array, photometric="rgb" if channels > 1 else "minisblack", extrasamples=extra)
    else:
        order = [2, 1, 0, 3][:channels]
        cv2.imwrite(str(file), array[:, :, order] if channels > 1 else array)
    image = read_image(file)
    expected = np.atleast_3d(array).astype(np.float64) / 65535
    assert image.bit_depth == 16
    assert image.greyscale == (channels == 1)
    assert np.abs(colours(image) - expected[:, :, : max(1, min(channels, 3))]).max() < 1e-6
    if channels == 4:
        assert image.alpha is not None
        assert np.abs(to_numpy(image.alpha) - expected[:, :, 3:]).max() < 1e-6


def test_a_grey_float_tiff_between_0_and_1_is_read() -> None:
    stream = io.BytesIO()
    values = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    tifffile.imwrite(stream, values)
    image = read_image(stream.getvalue())
    assert np.abs(colours(image)[:, :, 0] - values).max() < 1e-6
    assert image.bit_depth == 16


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile_is_read_as_pillow_converts_it(kind: str) -> None:
    content = encoded(pillow("CMYK"), kind)
    with PIL.Image.open(io.BytesIO(content)) as picture:
        expected = picture.convert("RGB")
    image = read_image(content)
    assert_same(image, expected)
    assert image.icc_profile is None


def test_cmyk_with_a_profile_goes_through_it_to_srgb() -> None:
    """This profile prints colours as a middle grey; without it, cyan is (0, 1, 1)."""
    cyan = PIL.Image.new("CMYK", (64, 48), (255, 0, 0, 0))
    image = read_image(encoded(cyan, "TIFF", icc_profile=grey_cmyk_profile()))
    assert np.abs(colours(image) - 119 / 255).max() < 2.1 / 255  # L* = 50 is 119 in sRGB
    assert image.icc_profile is None


def test_no_part_of_a_tiffs_structure_is_taken_for_exif() -> None:
    """Written into another file, it would describe pixels that are not there."""
    picture = pillow("CMYK")
    image = read_image(encoded(picture, "TIFF", icc_profile=grey_cmyk_profile(), description="An astronaut"))
    exif = PIL.Image.Exif()
    exif.load(image.exif or b"")
    assert dict(exif) == {0x010E: "An astronaut"}


def test_cmyk_with_a_broken_profile_is_read_without_it() -> None:
    picture = pillow("CMYK")
    assert_same(read_image(encoded(picture, "TIFF", icc_profile=b"no profile" * 20)), picture.convert("RGB"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_the_profile_comes_along_byte_for_byte(kind: str) -> None:
    assert read_image(encoded(pillow("RGB"), kind, icc_profile=SRGB)).icc_profile == SRGB


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_exif_comes_along_without_the_orientation_that_is_applied(kind: str) -> None:
    exif = PIL.Image.Exif()
    exif[MAKER], exif[ORIENTATION] = "Maker of cameras", 6
    image = read_image(encoded(pillow("RGB"), kind, exif=exif))
    kept = PIL.Image.Exif()
    kept.load(image.exif or b"")
    assert kept[MAKER] == "Maker of cameras"
    assert ORIENTATION not in kept
    assert (image.width, image.height) == (48, 64)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_every_orientation_is_turned_upright(kind: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(pillow("RGB"), kind, exif=exif)
    with PIL.Image.open(io.BytesIO(content)) as picture:
        assert_same(read_image(content), PIL.ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_alpha_and_16_bit_are_turned_along(orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    array = np.ascontiguousarray(DEEP[:, :, [2, 1, 0, 3]])
    _, content = cv2.imencodeWithMetadata(
        ".png", array, [cv2.IMAGE_METADATA_EXIF], [np.frombuffer(exif.tobytes()[6:], np.uint8)]
    )
    plane = PIL.Image.fromarray(DEEP[:, :, 3])
    plane.getexif()[ORIENTATION] = orientation
    expected = np.asarray(PIL.ImageOps.exif_transpose(plane), np.float32) / 65535
    image = read_image(bytes(content))
    assert image.alpha is not None
    assert np.abs(to_numpy(image.alpha)[:, :, 0] - expected).max() < 1e-6


@pytest.mark.parametrize("exif", [b"Exif\x00\x00rubbish", b"Exif\x00\x00II*\x00\xff\xff\xff\x7f", b"Exif\x00\x00"])
def test_broken_exif_is_no_reason_to_refuse_a_picture(exif: bytes) -> None:
    picture = pillow("RGB")
    image = read_image(encoded(picture, "PNG", exif=exif))
    assert_same(image, picture)


def test_a_jpeg_with_a_preview_behind_it_is_one_picture() -> None:
    first, preview = pillow("RGB"), PIL.Image.new("RGB", (64, 48))
    content = encoded(first, "MPO", save_all=True, append_images=[preview])
    assert np.abs(colours(read_image(content)) * 255 - PICTURE).mean() < 12


def test_a_path_and_its_bytes_give_the_same(photo_file: Path) -> None:
    assert bool((read_image(photo_file).pixels == read_image(photo_file.read_bytes()).pixels).all())


def test_pictures_are_known_by_every_suffix_that_is_read() -> None:
    PIL.Image.init()
    pillows = {suffix for suffix, kind in PIL.Image.registered_extensions().items() if kind in PILLOW_FORMATS}
    of_animations, of_any_numbers = {".apng", ".avifs"}, {".pfm"}
    assert pillows - of_animations - of_any_numbers <= READABLE


def test_the_format_is_detected_by_content_not_by_name(tmp_path: Path) -> None:
    file = tmp_path / "really a png.jpg"
    file.write_bytes(encoded(pillow("RGB"), "PNG"))
    assert_same(read_image(file), pillow("RGB"))


def grey_cmyk_profile() -> bytes:
    """An ICC profile (ICC.1:2001-04) of one table: paper is white, black ink is black, every other ink is L* 50."""
    ramp = bytes(range(256))
    corners = [(255 if ink == 0 else 0 if ink % 2 else 128, 128, 128) for ink in range(16)]
    identity = struct.pack(">9i", *(65536 if index % 4 == 0 else 0 for index in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(sum(corners, ())) + ramp * 3
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(78)
    tags, body = b"", b""
    for name, content in ((b"desc", text), (b"A2B0", table)):
        tags += struct.pack(">4sII", name, 128 + 4 + 2 * 12 + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">4s4s4s4s4s12s4s", b"none", b"\x02\x10\0\0", b"prtr", b"CMYK", b"Lab ", bytes(12), b"acsp")
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)  # the white point of D50
    profile = head.ljust(124, b"\0") + struct.pack(">I", 2) + tags + body
    return struct.pack(">I", len(profile) + 4) + profile


def test_portable_pictures_of_more_than_8_bit_keep_all_their_levels() -> None:
    """Pillow would cut the first off at 255 of 65535, and the second to whole numbers."""
    levels = np.random.default_rng(0).random((9, 12), np.float32)
    sixteen = b"P5\n12 9\n65535\n" + (levels * 65535).round().astype(">u2").tobytes()
    floats = b"Pf\n12 9\n-1.0\n" + levels[::-1].astype("<f4").tobytes()
    for file in (sixteen, floats):
        image = read_image(file)
        assert image.bit_depth == 16
        assert np.abs(image.pixels[0].numpy() - levels).max() < 1 / 65535
