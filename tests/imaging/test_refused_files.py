"""Files that cannot be read: one error for each, which names the file and what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tifffile

from imaging.decoding.decode import decode
from imaging.errors import BrokenImage, ImageError, ImageTooLarge, NotAnImage, UnsupportedImage
from imaging.reading import Limits, read_image
from tests.conftest import encoded


def test_every_bad_file_is_one_error_that_names_it(bad_image_files: dict[str, Path]) -> None:
    assert len(bad_image_files) >= 25
    for kind, file in bad_image_files.items():
        with pytest.raises(ImageError) as caught:
            read_image(file)
        message = str(caught.value)
        assert str(file) in message, kind
        assert caught.value.hint, kind
        assert len(message) < 500 + len(str(file)), kind


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        (NotAnImage, ["empty", "text", "random bytes", "web page", "SVG drawing", "PDF", "ZIP archive", "video"]),
        (
            BrokenImage,
            [
                *(f"truncated {kind}" for kind in ("PNG", "JPEG", "WebP", "TIFF", "BMP", "AVIF")),
                *("truncated 16-bit PNG", "truncated 16-bit TIFF", "PNG with a wrong checksum"),
            ],
        ),
        (
            UnsupportedImage,
            [
                *("1x1 pixel", "7x300 pixels", "float TIFF with NaN", "float TIFF out of range"),
                *("TIFF of signed integers", "five-channel TIFF"),
            ],
        ),
        (ImageTooLarge, ["PNG that claims 60000x60000 pixels", "JPEG that claims 60000x60000 pixels"]),
    ],
)
def test_the_error_names_the_kind_of_problem(
    bad_image_files: dict[str, Path], error: type[ImageError], kinds: list[str]
) -> None:
    for kind in kinds:
        with pytest.raises(error):
            read_image(bad_image_files[kind])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("web page", "web page"),
        ("PDF", "PDF"),
        ("video", "video"),
        ("folder", "folder"),
        ("missing", "does not exist"),
        ("7x300 pixels", "7x300"),
        ("truncated AVIF", "truncated"),
    ],
)
def test_the_error_says_what_the_file_is(bad_image_files: dict[str, Path], kind: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(bad_image_files[kind])


def test_nothing_is_printed_about_bad_files(
    bad_image_files: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    for file in bad_image_files.values():
        with pytest.raises(ImageError):
            read_image(file)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "null\x00byte.png"])
def test_impossible_names_are_image_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_an_image_error(photo_file: Path) -> None:
    photo_file.chmod(0)
    with pytest.raises(ImageError, match="permission"):
        read_image(photo_file)


def test_the_limit_of_bytes_holds_for_files_and_for_data(photo_file: Path) -> None:
    size = photo_file.stat().st_size
    assert read_image(photo_file, Limits(max_bytes=size)).width == 512
    for source in (photo_file, photo_file.read_bytes()):
        with pytest.raises(ImageTooLarge, match=f"{size - 1}"):
            read_image(source, Limits(max_bytes=size - 1))


def test_the_limit_of_pixels_is_the_last_that_is_allowed(photo_file: Path) -> None:
    assert read_image(photo_file, Limits(max_pixels=512 * 512)).width == 512
    with pytest.raises(ImageTooLarge, match="512x512"):
        read_image(photo_file, Limits(max_pixels=512 * 512 - 1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP", "JPEG2000"])
def test_the_limits_are_checked_before_anything_is_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(np.zeros((48, 64, 3), np.uint8), kind)

    def decoded(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PIL.Image.Image, "load", decoded)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    monkeypatch.setattr(cv2, "imdecode", decoded)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", decoded)
    with pytest.raises(ImageTooLarge):
        decode(content, "picture", "", Limits(max_pixels=1000), None)


def test_data_without_a_file_is_called_the_image_data() -> None:
    with pytest.raises(NotAnImage, match="the image data"):
        read_image(b"not a picture at all")
