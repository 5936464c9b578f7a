"""Thumbnails: small JPEGs of any image."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch

from imaging.image import Image
from imaging.writing import thumbnail_jpeg
from tests.imaging.test_writing import SRGB, exif


@pytest.fixture
def small(photo: Image) -> Image:
    """64x48 pixels of the photo."""
    return Image(photo.pixels[:, 100:148, 200:264].contiguous())


def test_a_thumbnail_is_a_small_jpeg_without_metadata(photo: Image) -> None:
    content = thumbnail_jpeg(replace(photo, icc_profile=SRGB, exif=exif()), 128)
    with PIL.Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (128, 128))
        assert "icc_profile" not in picture.info
        assert not picture.getexif()
        assert abs(float(np.asarray(picture).mean()) / 255 - float(photo.pixels.mean())) < 0.01


def test_a_thumbnail_is_never_enlarged(small: Image) -> None:
    with PIL.Image.open(io.BytesIO(thumbnail_jpeg(small, 512))) as picture:
        assert picture.size == (64, 48)


def test_a_thumbnail_shows_transparency_as_white() -> None:
    clear = Image(torch.zeros(3, 40, 40), alpha=torch.zeros(1, 40, 40))
    with PIL.Image.open(io.BytesIO(thumbnail_jpeg(clear, 20))) as picture:
        assert int(np.asarray(picture).min()) > 250
