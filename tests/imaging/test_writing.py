"""Written files read back as they were."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from PIL import ImageCms

from imaging import pixels, writing
from imaging.image import Image
from imaging.output import FORMAT_OF
from imaging.reading import read_image
from imaging.writing import encode_image, write_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKER, EXPOSURE, SUB_IFD = 0x010F, 0x829A, 0x8769
LOSSLESS = (".png", ".tif", ".tiff", ".bmp")
LOSSY = {".jpg": 3, ".jpeg": 3, ".webp": 4, ".avif": 5, ".heic": 4, ".jxl": 3}
"""Mean difference in 1/255 that quality 95 may leave on a photo."""


def exif() -> bytes:
    block = PIL.Image.Exif()
    block[MAKER] = "Maker of cameras"
    block.get_ifd(SUB_IFD)[EXPOSURE] = 0.25
    return block.tobytes()


def of_kind(small: Image, kind: str, bit_depth: int) -> Image:
    """The picture as grey or with alpha, with values between those of 8 bit where 16 are asked for."""
    pixels = small.pixels[1:2].expand(3, -1, -1) if "grey" in kind else small.pixels
    pixels = pixels.contiguous() if bit_depth == 8 else (pixels * 0.9 + 0.0517).contiguous()
    alpha = torch.linspace(0, 1, 64).expand(1, 48, 64) if "alpha" in kind else None
    return replace(small, pixels=pixels, alpha=alpha, greyscale="grey" in kind, bit_depth=bit_depth)


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("kind", ["colour", "grey", "colour with alpha", "grey with alpha"])
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_are_read_back_exactly(
    tmp_path: Path, small: Image, suffix: str, kind: str, bit_depth: int
) -> None:
    image, file = of_kind(small, kind, bit_depth), tmp_path / f"out{suffix}"
    write_image(image, file)
    back = read_image(file)
    kept_depth = 8 if suffix == ".bmp" else bit_depth
    expected = image.pixels
    if suffix == ".bmp" and image.alpha is not None:
        expected = expected * image.alpha + (1 - image.alpha)
    assert back.bit_depth == kept_depth
    assert float((back.pixels - expected).abs().max()) <= 0.501 / (2**kept_depth - 1)
    assert (back.alpha is not None) == (image.alpha is not None and suffix != ".bmp")
    if back.alpha is not None and image.alpha is not None:
        assert float((back.alpha - image.alpha).abs().max()) <= 0.501 / (2**kept_depth - 1)
    if kind == "grey":
        assert back.greyscale


@pytest.mark.parametrize("threads", [1, 3])
def test_a_png_of_many_strips_is_one_valid_stream(
    small: Image, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PNG_STRIP_BYTES", 5 * 3 * small.width)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    data = encode_image(small, "PNG")
    stream, at = b"", 8
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + content) == int.from_bytes(data[at + 8 + length : at + 12 + length])
        stream, at = stream + content * (kind == b"IDAT"), at + 12 + length
    assert len(zlib.decompress(stream)) == small.height * (1 + 3 * small.width)  # with the right Adler-32
    back = torch.from_numpy(np.array(PIL.Image.open(io.BytesIO(data)))).permute(2, 0, 1)
    assert torch.equal(back, (small.pixels * 255).round().to(torch.uint8))


@pytest.mark.parametrize("kind", ["colour", "grey", "colour with alpha", "grey with alpha"])
@pytest.mark.parametrize("suffix", LOSSY)
def test_lossy_formats_stay_near(tmp_path: Path, small: Image, suffix: str, kind: str) -> None:
    image, file = of_kind(small, kind, 16), tmp_path / f"out{suffix}"
    write_image(image, file)
    back = read_image(file)
    assert back.bit_depth == (16 if suffix == ".jxl" else 8)
    expected = image.pixels
    if image.alpha is not None and back.alpha is None:
        expected = expected * image.alpha + (1 - image.alpha)
    seen = back.alpha > 0.5 if back.alpha is not None else torch.ones(1, 48, 64, dtype=torch.bool)
    difference = (back.pixels - expected).abs().mean(0, keepdim=True)[seen]
    assert float(difference.mean()) * 255 < LOSSY[suffix]
    assert (back.alpha is not None) == ("alpha" in kind and suffix in (".webp", ".avif", ".heic", ".jxl"))


@pytest.mark.parametrize("suffix", [".PNG", ".Jpg", ".TIF"])
def test_the_suffix_may_be_written_in_capitals(tmp_path: Path, small: Image, suffix: str) -> None:
    write_image(small, tmp_path / f"out{suffix}")
    assert read_image(tmp_path / f"out{suffix}").width == 64


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("suffix", [suffix for suffix in FORMAT_OF if suffix != ".bmp"])
def test_profile_and_exif_are_written(tmp_path: Path, small: Image, suffix: str, bit_depth: int) -> None:
    image, file = replace(small, icc_profile=SRGB, exif=exif(), bit_depth=bit_depth), tmp_path / f"out{suffix}"
    write_image(image, file)
    back = read_image(file)
    kept = PIL.Image.Exif()
    kept.load(back.exif or b"")
    assert back.icc_profile == (None if suffix == ".jxl" else SRGB)
    assert kept[MAKER] == "Maker of cameras"
    assert float(kept.get_ifd(SUB_IFD)[EXPOSURE]) == 0.25


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_profile_for_other_channels_is_left_out(tmp_path: Path, small: Image, suffix: str) -> None:
    of_cmyk = SRGB[:16] + b"CMYK" + SRGB[20:]
    write_image(replace(small, icc_profile=of_cmyk), tmp_path / f"out{suffix}")
    assert read_image(tmp_path / f"out{suffix}").icc_profile is None


def test_exif_that_no_jpeg_can_hold_is_left_out(tmp_path: Path, small: Image) -> None:
    write_image(replace(small, exif=b"Exif\x00\x00" + bytes(70_000)), tmp_path / "out.jpg")
    assert read_image(tmp_path / "out.jpg").exif is None


def test_a_tiff_is_written_without_its_old_structure(tmp_path: Path, small: Image) -> None:
    """Width, strips and the like of the file that was read describe other pixels than those written."""
    write_image(small, tmp_path / "in.tif")
    larger = read_image(tmp_path / "in.tif").with_pixels(torch.rand(3, 96, 128))
    write_image(larger, tmp_path / "out.tif")
    write_image(larger, tmp_path / "out.png")
    assert read_image(tmp_path / "out.tif").width == 128
    assert read_image(tmp_path / "out.png").exif is None


@pytest.mark.parametrize("quality", [80, 89, 90, 95, 100])
def test_pure_noise_can_be_written_as_jpeg(tmp_path: Path, quality: int) -> None:
    noise = Image(torch.rand(3, 300, 400, generator=torch.Generator().manual_seed(0)).round())
    write_image(noise, tmp_path / "noise.jpg", quality=quality)
    assert read_image(tmp_path / "noise.jpg").width == 400


def test_quality_makes_files_larger(tmp_path: Path, photo: Image) -> None:
    for suffix in (".jpg", ".webp", ".avif"):
        sizes = []
        for quality in (30, 95):
            write_image(photo, tmp_path / f"{quality}{suffix}", quality=quality)
            sizes.append((tmp_path / f"{quality}{suffix}").stat().st_size)
        assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize("kind", ["colour", "grey", "colour with alpha", "grey with alpha"])
@pytest.mark.parametrize("suffix", sorted(FORMAT_OF))
def test_files_are_the_same_however_little_of_a_picture_is_converted_at_a_time(
    small: Image, suffix: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for depth in (8, 16):
        image = of_kind(small, kind, depth)
        written = encode_image(image, FORMAT_OF[suffix])
        back = read_image(written)
        with monkeypatch.context() as patched:
            patched.setattr(pixels, "CHUNK_PIXELS", 500)
            assert encode_image(image, FORMAT_OF[suffix]) == written
            again = read_image(written)
        assert torch.equal(again.pixels, back.pixels)
        assert (again.alpha is None) == (back.alpha is None)
        assert back.alpha is None or torch.equal(again.alpha, back.alpha)
