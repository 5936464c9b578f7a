"""The table of what each output format keeps, found out by writing and reading a small image."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import PIL.Image
import torch

from docs.markdown import table
from imaging.decoding.colour import adobe_rgb_profile
from imaging.image import Image
from imaging.output import FORMAT_OF
from imaging.reading import read_image
from imaging.writing import encode_image

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
LOSSLESS = 1 / 255
NOT_KEPT = "–"
HEADER = ("format", "bits", "pixels", "alpha", "grey", "ICC", "EXIF", "GPS", "XMP", "IPTC", "dpi", "GeoTIFF")


@cache
def round_trip() -> str:
    """Rows: format and bit depth; columns: what comes back."""
    rows = [_row(kind, depth) for kind in dict.fromkeys(FORMAT_OF.values()) for depth in (8, 16)]
    return table(HEADER, [row for row in rows if row])


def _row(kind: str, depth: int) -> list[str]:
    """The properties of an image of that depth that survive; empty if the format has fewer bits."""
    image = _image(depth)
    back = read_image(encode_image(image, kind))
    if back.bit_depth != depth:
        return []
    opaque = replace(image, alpha=None)
    difference = float((read_image(encode_image(opaque, kind)).pixels - image.pixels).abs().max())
    grey = replace(opaque, pixels=image.pixels[:1].expand(3, -1, -1).contiguous(), greyscale=True, icc_profile=None)
    exif = PIL.Image.Exif()
    exif.load(back.exif or b"")
    kept = [
        back.alpha is not None,
        read_image(encode_image(grey, kind)).greyscale,
        back.icc_profile == image.icc_profile,
        bool(exif.get_ifd(EXIF_IFD).get(0x829A)),
        bool(exif.get_ifd(GPS_IFD).get(1)),
        back.xmp == image.xmp,
        back.iptc == image.iptc,
        back.dpi is not None and abs(back.dpi[0] - 300) < 0.1,
        dict(back.geotiff) == dict(image.geotiff),
    ]
    pixels = "exact" if difference <= LOSSLESS / (1 if depth == 8 else 256) else "near"
    return [kind, str(depth), pixels, *("kept" if one else NOT_KEPT for one in kept)]


def _image(depth: int) -> Image:
    exif = PIL.Image.Exif()
    exif.get_ifd(EXIF_IFD)[0x829A], exif.get_ifd(GPS_IFD)[1] = 0.25, "N"
    ramp = torch.linspace(0, 1, 64).expand(48, 64)
    most = 255 if depth == 8 else 65535
    return Image(
        (torch.stack([ramp, ramp.flip(1), ramp * 0.5]) * most).round() / most,
        alpha=(ramp * 0.5 + 0.5)[None],
        icc_profile=adobe_rgb_profile(),
        exif=exif.tobytes(),
        xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
        iptc=b"\x1c\x02\x05\x00\x05Title",
        dpi=(300.0, 300.0),
        geotiff={33550: (2.0, 2.0, 0.0), 33922: (0.0, 0.0, 0.0, 10.0, 20.0, 0.0)},
        bit_depth=depth,
    )
