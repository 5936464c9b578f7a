"""TIFFs of two colours: faxes and palettes."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from skimage import data

from imaging.convert import to_numpy
from imaging.reading import read_image

DOTS = data.page()[:96, :160] > 120


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_faxes_are_read_as_libtiff_reads_them_also_behind_a_wrong_bit(compression: str) -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(DOTS).save(stream, "TIFF", compression=compression)
    with tifffile.TiffFile(io.BytesIO(stream.getvalue())) as file:
        page: Any = file.pages.first
        start, size = page.dataoffsets[0], page.databytecounts[0]
    for place in (None, *np.random.default_rng(0).integers(8 * size, size=6)):
        content = bytearray(stream.getvalue())
        if place is not None:
            content[start + place // 8] ^= 1 << (place % 8)
        with PIL.Image.open(io.BytesIO(content)) as picture:
            expected = np.asarray(picture)
        assert np.array_equal(read_image(bytes(content)).pixels[0].numpy() == 1, expected), place


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_a_damaged_fax_is_read_with_a_warning(compression: str) -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(DOTS).save(stream, "TIFF", compression=compression)
    assert read_image(stream.getvalue()).warnings == ()
    content = bytearray(stream.getvalue())
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page: Any = file.pages.first
        start, size = page.dataoffsets[0], page.databytecounts[0]
    for place in np.random.default_rng(0).integers(8 * size, size=60):
        content[start + place // 8] ^= 1 << (place % 8)
    damaged = read_image(bytes(content), name="fax.tif")
    assert damaged.height == len(DOTS)
    (warning,) = damaged.warnings
    assert warning.startswith("fax.tif is damaged: Fax")


def test_a_palette_of_two_colours_is_read() -> None:
    colours = [0x1000, 0xF000, 0x2000, 0x8000, 0x3000, 0x4000]
    stream = io.BytesIO()
    tifffile.imwrite(stream, DOTS, photometric="minisblack", metadata=None, extratags=[(320, "H", 6, colours, True)])
    content = bytearray(stream.getvalue())
    entry = content.index(struct.pack("<HHII", 262, 3, 1, 1))
    content[entry + 8] = 3  # PhotometricInterpretation: palette
    expected = np.where(DOTS[:, :, None], [0xF0, 0x80, 0x40], [0x10, 0x20, 0x30]) / 255
    assert np.abs(to_numpy(read_image(bytes(content)).pixels) - expected).max() < 1e-6
