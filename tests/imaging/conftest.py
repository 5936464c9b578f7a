"""A small part of the photo."""

from __future__ import annotations

import pytest

from imaging.image import Image


@pytest.fixture
def small(photo: Image) -> Image:
    """64x48 pixels of the photo."""
    return Image(photo.pixels[:, 100:148, 200:264].contiguous())
