"""Kinds of files that readers get wrong: each is made by code, and read as its tags say."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pillow_heif
import pytest
import tifffile
from PIL import ImageCms
from skimage import data
from skimage.color import rgb2lab

from imaging.convert import to_numpy
from imaging.decoding.colour import srgb_encoded
from imaging.errors import BrokenImage, ImageTooLarge, NoSuchPage
from imaging.image import Image
from imaging.limits import Limits
from imaging.reading import read_image
from imaging.writing import encode_image

PICTURE = np.ascontiguousarray(data.astronaut()[100:148, 200:264])
UNIT = PICTURE.astype(np.float64) / 255
ALPHA = np.linspace(0.3, 1, 64)[None, :, None].repeat(48, 0)
TYPES: dict[str, tuple[Any, float]] = {
    "8 bit": (np.uint8, 255),
    "16 bit": (np.uint16, 65535),
    "32 bit": (np.uint32, 2**32 - 1),
    "half": (np.float16, 1),
    "float": (np.float32, 1),
    "double": (np.float64, 1),
}


def tiff(values: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, metadata=None, **options)
    return stream.getvalue()


def as_type(values: np.ndarray, kind: str) -> np.ndarray:
    dtype, most = TYPES[kind]
    scaled = values * most
    return (np.rint(scaled) if most > 1 else scaled).astype(dtype)


def assert_read(image: Image, colours: np.ndarray, *, alpha: bool = False, within: float = 1.1 / 255) -> None:
    expected = np.broadcast_to(colours, (*colours.shape[:2], 3))
    assert np.abs(to_numpy(image.pixels) - expected).max() < within
    assert (image.alpha is not None) == alpha
    if image.alpha is not None:
        assert np.abs(to_numpy(image.alpha) - ALPHA).max() < 1.1 / 255


@pytest.mark.parametrize("kind", TYPES)
def test_tiffs_of_every_number_type_and_layout_are_read_as_their_tags_say(kind: str) -> None:
    rgb, grey, alpha = as_type(UNIT, kind), as_type(UNIT[:, :, :1], kind), as_type(ALPHA, kind)
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    in_ink = as_type(np.concatenate([1 - UNIT, np.zeros((48, 64, 1))], axis=2), kind)
    separate: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate"}
    assert_read(read_image(tiff(rgb, photometric="rgb")), UNIT)
    assert_read(read_image(tiff(rgb, photometric="rgb", byteorder=">")), UNIT)
    assert_read(read_image(tiff(rgb, photometric="rgb", tile=(32, 32), bigtiff=True)), UNIT)
    for compression in ("zlib", "lzw", "zstd", "lzma", "packbits"):
        assert_read(read_image(tiff(rgb, photometric="rgb", compression=compression)), UNIT)
    assert_read(read_image(tiff(rgb, photometric="rgb", compression="zlib", predictor=True)), UNIT)
    assert_read(read_image(tiff(planes, **separate)), UNIT)
    assert_read(read_image(tiff(planes, tile=(32, 32), **separate)), UNIT)
    assert_read(read_image(tiff(grey[..., 0], photometric="minisblack")), UNIT[:, :, :1])
    negative = as_type(1 - UNIT[:, :, :1], kind)[..., 0]
    assert_read(read_image(tiff(negative, photometric="miniswhite")), UNIT[:, :, :1])
    assert_read(read_image(tiff(in_ink, photometric="separated")), UNIT)
    stored = np.concatenate([rgb, alpha], axis=2)
    assert_read(read_image(tiff(stored, photometric="rgb", extrasamples=["unassalpha"])), UNIT, alpha=True)
    assert_read(read_image(tiff(stored, photometric="rgb", extrasamples=["unspecified"])), UNIT)
    associated = np.concatenate([as_type(UNIT * ALPHA, kind), alpha], axis=2)
    within = 4 / 255 if kind == "8 bit" else 1.1 / 255
    image = read_image(tiff(associated, photometric="rgb", extrasamples=["assocalpha"]))
    assert_read(image, UNIT, alpha=True, within=within)
    with tifffile.TiffFile(io.BytesIO(encode_image(image, "TIFF"))) as written:
        page: Any = written.pages.first
        stored = page.asarray() / np.iinfo(page.dtype).max
        assert (page.extrasamples, page.bitspersample) == ((1,), image.bit_depth)
    assert np.abs(stored - np.concatenate([UNIT * ALPHA, ALPHA], axis=2)).max() < 1.1 / 255
    with_alpha = tiff(
        np.concatenate([grey, alpha], axis=2), photometric="minisblack", extrasamples=["unassalpha"], planarconfig=1
    )
    assert_read(read_image(with_alpha), UNIT[:, :, :1], alpha=True)
    turned = tiff(np.ascontiguousarray(np.rot90(rgb)), photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    assert_read(read_image(turned), UNIT)
    assert image.bit_depth == (8 if kind == "8 bit" else 16)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_tiffs_of_odd_bit_depths_reach_white(bits: int) -> None:
    most = 2**bits - 1
    values = np.rint(UNIT * most).astype(np.uint16)
    assert_read(read_image(tiff(values, photometric="rgb", bitspersample=bits)), UNIT)


@pytest.mark.parametrize("wide", [False, True])
def test_lab_is_converted(wide: bool) -> None:
    lab = rgb2lab(UNIT)
    light = np.rint(lab[..., :1] * ((65535 if wide else 255) / 100)).astype(np.uint16 if wide else np.uint8)
    ab = np.rint(lab[..., 1:] * (256 if wide else 1)).astype(np.int16 if wide else np.int8)
    stored = np.concatenate([light, ab.view(light.dtype)], axis=2)
    # The picture is relative to D65 here, and to D50 in ICC.
    assert_read(read_image(tiff(stored, photometric="cielab")), UNIT, within=0.04)


def test_every_read_of_a_planar_tiff_is_the_same() -> None:
    content = tiff(
        np.ascontiguousarray(as_type(UNIT, "16 bit").transpose(2, 0, 1)), photometric="rgb", planarconfig=2
    )
    first = read_image(content).pixels
    assert all(bool((read_image(content).pixels == first).all()) for _ in range(5))


def test_a_camera_that_says_adobe_rgb_by_exif_gets_its_profile() -> None:
    exif = PIL.Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    stream = io.BytesIO()
    PIL.Image.fromarray(PICTURE).save(stream, "JPEG", exif=exif)
    profile = read_image(stream.getvalue()).icc_profile
    assert profile is not None
    red, green, _ = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.chromaticity[0:3]
    assert (red[0], red[1]) == pytest.approx((0.64, 0.33), abs=0.02) or green[0] < 0.25


def test_a_profile_that_is_none_is_left_out_with_a_warning() -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(PICTURE).save(stream, "PNG", icc_profile=bytes(16) + b"RGB " + bytes(3000))
    image = read_image(stream.getvalue())
    assert image.icc_profile is None
    assert "profile is invalid" in image.warnings[0]


def test_heic_is_read_with_its_exif_and_turned_by_its_own_boxes_alone(tmp_path: Path) -> None:
    picture = PIL.Image.fromarray(PICTURE)
    exif = PIL.Image.Exif()
    exif[0x010F], exif[0x0112] = "Phone", 6
    file = tmp_path / "phone.heic"
    pillow_heif.register_heif_opener()
    picture.save(file, "HEIF", quality=95, chroma="444", exif=exif)
    image = read_image(file)
    kept = PIL.Image.Exif()
    kept.load(image.exif or b"")
    assert kept[0x010F] == "Phone"
    assert 0x0112 not in kept
    assert np.abs(to_numpy(image.pixels) - UNIT).mean() < 0.02  # ISO/IEC 23008-12: EXIF's orientation does not count


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".jxl", ".jp2"])
def test_jpeg_xl_and_jpeg_2000_are_read_to_the_last_bit(suffix: str, channels: int, deep: bool) -> None:
    values = as_type(np.concatenate([UNIT, ALPHA], axis=2)[..., :channels], "16 bit" if deep else "8 bit")
    stored = values[..., 0] if channels == 1 else values
    if suffix == ".jxl":
        content = bytes(imagecodecs.jpegxl_encode(stored, lossless=True))
    else:
        content = bytes(imagecodecs.jpeg2k_encode(stored, level=0, codecformat="jp2"))
    image = read_image(content)
    assert image.bit_depth == (16 if deep else 8)
    assert_read(image, UNIT[..., : min(channels, 3)], alpha=channels == 4, within=0.6 / 255 if deep else 1e-6)


@pytest.mark.parametrize("size", [(8, 8), (48, 64), (301, 300), (10, 1000), (513, 1025), (90, 160), (2000, 33)])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(size: tuple[int, int]) -> None:
    height, width = size
    for dtype in (np.uint8, np.uint16):
        content = bytes(imagecodecs.jpegxl_encode(np.zeros((height, width, 3), dtype), lossless=True))
        assert read_image(content, Limits(max_pixels=width * height)).width == width
        with pytest.raises(ImageTooLarge, match=f"{width}x{height}"):
            read_image(content, Limits(max_pixels=width * height - 1))


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_and_heic_of_more_than_8_bits_keep_them(bits: int) -> None:
    most = 2**bits - 1
    values = np.rint(np.linspace(0, 1, 64)[None, :, None].repeat(48, 0).repeat(3, 2) * most).astype(np.uint16)
    avif = bytes(imagecodecs.avif_encode(values, level=100, bitspersample=bits))
    image = read_image(avif)
    assert image.bit_depth == 16
    assert np.abs(to_numpy(image.pixels) - values / most).max() < 2 / most
    if bits == 12:
        stream = io.BytesIO()
        deep = np.ascontiguousarray(values << 4)
        pillow_heif.from_bytes("RGB;16", (64, 48), deep.tobytes()).save(stream, quality=100, chroma=444)
        image = read_image(stream.getvalue())
        assert image.bit_depth == 16
        assert np.abs(to_numpy(image.pixels) - values / most).max() < 0.01


def test_a_tga_is_known_by_its_suffix(tmp_path: Path) -> None:
    PIL.Image.fromarray(PICTURE).save(tmp_path / "picture.tga")
    assert_read(read_image(tmp_path / "picture.tga"), UNIT)


def jpeg(**options: Any) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(np.tile(PICTURE, (4, 4, 1))).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_marker_is_whole(progressive: bool) -> None:
    whole = jpeg(progressive=progressive)
    image = read_image(whole[:-2])
    assert "lacks its end marker" in image.warnings[0]
    assert bool((image.pixels == read_image(whole).pixels).all())
    for missing in (40, 400, len(whole) // 2):
        with pytest.raises(BrokenImage):
            read_image(whole[:-missing])


# Pages


def pages() -> bytes:
    """Two pages, with a thumbnail before and a mask behind."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(np.ascontiguousarray(PICTURE[::4, ::4]), photometric="rgb", subfiletype=1, metadata=None)
        file.write(PICTURE, photometric="rgb", metadata=None)
        file.write(PICTURE[::-1].copy(), photometric="rgb", metadata=None)
        file.write(np.zeros((48, 64), bool), photometric=4, subfiletype=4, metadata=None)
    return stream.getvalue()


def test_reduced_images_and_masks_are_no_pages() -> None:
    first = read_image(pages())
    assert_read(first, UNIT)
    assert "has 2 pages: the first is taken" in first.warnings[0]
    assert_read(read_image(pages(), page=2), UNIT[::-1])
    assert not read_image(pages(), page=1).warnings
    with pytest.raises(NoSuchPage, match="2 pages, not 3"):
        read_image(pages(), page=3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken_or_the_one_asked_for(kind: str) -> None:
    first, *others = (PIL.Image.new("RGB", (64, 48), colour) for colour in ("red", "green", "blue"))
    stream = io.BytesIO()
    first.save(stream, kind, save_all=True, append_images=others, **({"lossless": True} if kind == "WEBP" else {}))
    image = read_image(stream.getvalue())
    assert "animation" in image.warnings[0]
    assert [round(float(plane.mean())) for plane in image.pixels] == [1, 0, 0]
    third = read_image(stream.getvalue(), page=3)
    assert [round(float(plane.mean())) for plane in third.pixels] == [0, 0, 1]
    with pytest.raises(NoSuchPage, match="fewer than 4"):
        read_image(stream.getvalue(), page=4)


def test_a_camera_raw_file_is_developed() -> None:
    pytest.importorskip("rawpy")
    content = raw_file()
    image = read_image(content, name="camera.dng")
    assert image.bit_depth == 16
    assert (image.width, image.height) == (64, 48)
    assert float(image.pixels.mean()) == pytest.approx(float(srgb_encoded(np.float32(0.5))), abs=0.06)
    with pytest.raises(BrokenImage):
        read_image(content[: len(content) // 3], name="camera.dng")


def raw_file() -> bytes:
    """A DNG of a grey wall, whose matrix is that of sRGB."""
    mosaic = np.full((48, 64), 32768, np.uint16)
    xyz_to_srgb = [32405, -15371, -4985, -9693, 18760, 416, 556, -2040, 10572]
    matrix = [number for value in xyz_to_srgb for number in (value, 10_000)]
    return tiff(
        mosaic,
        photometric=32803,
        extratags=[
            (271, "s", 0, "Maker", True),
            (272, "s", 0, "Model", True),
            (33421, "H", 2, (2, 2), True),
            (33422, "B", 4, bytes([0, 1, 1, 2]), True),
            (50706, "B", 4, bytes([1, 4, 0, 0]), True),
            (50708, "s", 0, "Maker Model", True),
            (50714, "H", 1, 0, True),
            (50717, "H", 1, 65535, True),
            (50721, "2i", 9, tuple(matrix), True),
            (50728, "2I", 3, (1, 1) * 3, True),
            (50778, "H", 1, 21, True),
        ],
    )
