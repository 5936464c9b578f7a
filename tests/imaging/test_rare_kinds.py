"""Rare kinds of PNG, TIFF and BMP, which came out wrong or were called damaged; the files are made here."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from numpy.typing import NDArray

from imaging.convert import to_numpy
from imaging.reading import read_image
from tests.imaging.test_png_chunks import png

PHOTO = skimage.data.astronaut()[100:143, 200:273]
"""43x73 pixels: no multiple of any block."""
Array = NDArray[Any]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_grey_of_a_png_of_few_bits_becomes_alpha(bits: int) -> None:
    most = (1 << bits) - 1
    values = np.random.default_rng(0).integers(0, most + 1, (16, 24), np.uint8)
    digits = (values[:, :, None] >> np.arange(bits - 1, -1, -1, np.uint8)) & 1
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in digits.reshape(16, -1))
    head = struct.pack(">IIBBBBB", 24, 16, bits, 0, 0, 0, 0)
    image = read_image(png(head, [(b"tRNS", struct.pack(">H", most))], rows))
    assert image.alpha is not None
    assert np.array_equal(image.alpha.numpy()[0] == 0, values == most)
    assert np.allclose(image.pixels.numpy()[0], values / most, atol=1e-6)


def tiff(strips: list[bytes], **tags: Any) -> bytes:
    """A little-endian TIFF of 43x73 pixels; a tag is a list of SHORTs, or of RATIONALs as pairs."""
    numbers = {
        "width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262, "samples": 277, "rows": 278,
        "planar": 284, "coefficients": 529, "subsampling": 530, "reference": 532,
    }  # fmt: skip
    offset, body, entries = 8, b"", list[tuple[int, int, int, bytes]]()
    offsets = []
    for strip in strips:
        offsets.append(offset + len(body))
        body += strip + b"\0" * (len(strip) % 2)
    tags = {"width": [73], "height": [43], "compression": [1], "samples": [3], **tags}
    for name, values in tags.items():
        if isinstance(values[0], tuple):
            packed = b"".join(struct.pack("<II", *one) for one in values)
            entries.append((numbers[name], 5, len(values), packed))
        else:
            entries.append((numbers[name], 3, len(values), struct.pack(f"<{len(values)}H", *values)))
    entries.append((273, 4, len(strips), struct.pack(f"<{len(strips)}I", *offsets)))
    entries.append((279, 4, len(strips), struct.pack(f"<{len(strips)}I", *map(len, strips))))
    table = struct.pack("<H", len(entries))
    extra_at, extra = offset + len(body) + 2 + 12 * len(entries) + 4, b""
    for tag, kind, count, packed in sorted(entries):
        if len(packed) > 4:
            table += struct.pack("<HHII", tag, kind, count, extra_at + len(extra))
            extra += packed + b"\0" * (len(packed) % 2)
        else:
            table += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", offset + len(body)) + body + table + b"\0" * 4 + extra


@pytest.mark.parametrize("planar", [1, 2])
def test_a_tiff_of_24_bits_has_its_brightness(planar: int) -> None:
    whole = PHOTO.astype(np.uint32) * 0x010101
    samples = np.ascontiguousarray(whole, "<u4").view(np.uint8).reshape(43, 73, 3, 4)[..., :3]
    planes = [samples] if planar == 1 else [samples[:, :, plane] for plane in range(3)]
    content = tiff(
        [plane.tobytes() for plane in planes], bits=[24, 24, 24], photometric=[2], rows=[43], planar=[planar]
    )
    assert np.allclose(to_numpy(read_image(content).pixels), PHOTO / 255, atol=1e-5)


def in_ycbcr(across: int, down: int) -> tuple[Array, Array, Array]:
    """Luma of the photo, chroma of its blocks (2, rows, columns), and the RGB that both stand for."""
    rgb = PHOTO.astype(float)
    y = rgb @ [0.299, 0.587, 0.114]
    chroma = np.stack([(rgb[:, :, 2] - y) / 1.772, (rgb[:, :, 0] - y) / 1.402]) + 128
    high, wide = -(-43 // down), -(-73 // across)
    padded = np.pad(chroma, ((0, 0), (0, high * down - 43), (0, wide * across - 73)), "edge")
    small = np.rint(padded.reshape(2, high, down, wide, across).mean(axis=(2, 4))).astype(np.uint8)
    y = np.rint(y).astype(np.uint8)
    cb, cr = small.repeat(down, axis=1).repeat(across, axis=2)[:, :43, :73].astype(float) - 128
    shown = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2)
    return y, small, np.clip(shown, 0, 255) / 255


@pytest.mark.parametrize(("across", "down"), [(1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)])
@pytest.mark.parametrize("rows", [43, 16, 6])
def test_uncompressed_ycbcr_with_subsampled_chroma_is_read(across: int, down: int, rows: int) -> None:
    if rows % down:
        pytest.skip("strips have whole blocks")
    y, small, shown = in_ycbcr(across, down)
    high, wide = small.shape[1:]
    luma = np.pad(y, ((0, high * down - 43), (0, wide * across - 73)))
    luma = luma.reshape(high, down, wide, across).transpose(0, 2, 1, 3).reshape(high, wide, -1)
    units = np.concatenate([luma, small.transpose(1, 2, 0)], axis=2)
    strips = [
        units[top : top + rows // down if rows < 43 else None].tobytes() for top in range(0, high, -(-rows // down))
    ]
    content = tiff(strips, bits=[8, 8, 8], photometric=[6], rows=[rows], planar=[1], subsampling=[across, down])
    image = read_image(content)
    assert np.abs(to_numpy(image.pixels) - shown).max() < 2 / 255


def test_ycbcr_in_planes_is_read() -> None:
    y, small, shown = in_ycbcr(2, 2)
    strips = [y.tobytes(), small[0].tobytes(), small[1].tobytes()]
    content = tiff(strips, bits=[8, 8, 8], photometric=[6], rows=[43], planar=[2], subsampling=[2, 2])
    assert np.abs(to_numpy(read_image(content).pixels) - shown).max() < 2 / 255


def test_ycbcr_within_the_range_of_video_is_stretched() -> None:
    y, small, shown = in_ycbcr(1, 1)
    video = np.stack([16 + y * (219 / 255), *(128 + (small - 128.0) * (224 / 254))], axis=2)
    content = tiff(
        [np.rint(video).astype(np.uint8).tobytes()],
        bits=[8, 8, 8], photometric=[6], rows=[43], planar=[1], subsampling=[1, 1],
        reference=[(16, 1), (235, 1), (128, 1), (240, 1), (128, 1), (240, 1)],
    )  # fmt: skip
    assert np.abs(to_numpy(read_image(content).pixels) - shown).max() < 4 / 255


def test_outside_of_a_first_frame_a_gif_is_transparent() -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(PHOTO).quantize(16).save(stream, "GIF", background=3)
    whole, content = read_image(stream.getvalue()), bytearray(stream.getvalue())
    content[6:10] = struct.pack("<HH", 100, 60)
    image = read_image(bytes(content))
    assert (image.width, image.height) == (100, 60)
    assert image.alpha is not None
    assert image.alpha[0, :43, :73].min() == 1
    assert image.alpha[0, 43:].max() == image.alpha[0, :, 73:].max() == 0
    assert np.array_equal(image.pixels[:, :43, :73], whole.pixels)


MASKS = {
    "rgb of 11, 11 and 10 bits": (32, [0xFFE00000, 0x1FFC00, 0x3FF]),
    "rgb in another order": (32, [0xFF000000, 0xFF0, 0xFF0000]),
    "rgba of 12 bits at most": (32, [0xFF00, 0xFFF0000, 0xFF, 0xF0000000]),
    "rgb of 16 bits": (16, [0x38, 0xFFC0, 0x7]),
    "rgba of 4 bits each": (16, [0xF00, 0xF0, 0xF, 0xF000]),
}


@pytest.mark.parametrize("upside_down", [True, False])
@pytest.mark.parametrize("kind", MASKS)
def test_the_masks_of_a_bmp_are_followed(kind: str, upside_down: bool) -> None:
    bits, masks = MASKS[kind]
    most = [mask // (mask & -mask) for mask in masks]
    alpha = np.linspace(0, 255, 43 * 73).reshape(43, 73, 1)
    levels = np.rint(np.concatenate([PHOTO, alpha], axis=2)[:, :, : len(masks)] / 255 * most).astype(np.uint64)
    packed = sum(levels[:, :, index] * (mask & -mask) for index, mask in enumerate(masks)).astype(f"<u{bits // 8}")
    padded = np.pad(packed, ((0, 0), (0, 73 * bits // 16 % 2)))
    rows = (padded if upside_down else padded[::-1]).tobytes()
    header = struct.pack("<IiiHHIIiiII", 124, 73, -43 if upside_down else 43, 1, bits, 3, len(rows), 0, 0, 0, 0)
    header += struct.pack("<4I", *masks, *[0] * (4 - len(masks))) + b"\0" * 68
    image = read_image(b"BM" + struct.pack("<IHHI", 14 + 124 + len(rows), 0, 0, 14 + 124) + header + rows)
    assert (image.alpha is not None) == (len(masks) == 4)
    shown = levels / np.array(most)
    assert np.abs(to_numpy(image.pixels) - shown[:, :, :3]).max() < 0.6 / 255
    if image.alpha is not None:
        assert np.abs(image.alpha.numpy()[0] - shown[:, :, 3]).max() < 0.6 / 255
