"""Camera raw, developed neutrally to sRGB of 16 bit by LibRaw; needs restore4k[raw]."""

from __future__ import annotations

import importlib.util
import io

from imaging.decoding.decoded import Decoded, Metadata, check_size
from imaging.decoding.exif import exif_of_tiff
from imaging.errors import BrokenImage, UnsupportedImage
from imaging.limits import Limits

SUFFIXES = frozenset(
    (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".3fr", ".iiq")
)
HEADS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\x00")
TIFF_HEADS = (b"II*\x00", b"MM\x00*")


def is_raw(data: bytes, suffix: str) -> bool:
    """Whether data is a camera raw file, by its first bytes, or as a TIFF with a raw suffix."""
    if data.startswith(HEADS) or data[4:11] == b"ftypcrx" or data[8:10] == b"CR":
        return True
    return suffix in SUFFIXES and data.startswith(TIFF_HEADS)


def decode_raw(data: bytes, name: str, limits: Limits) -> Decoded | None:
    """Develop a camera raw file; None if LibRaw does not support it."""
    if importlib.util.find_spec("rawpy") is None:
        raise UnsupportedImage(
            f"{name} is a camera raw file", 'install "restore4k[raw]", or develop it to TIFF, PNG or JPEG first'
        )
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            check_size(raw.sizes.width, raw.sizes.height, name, limits)
            samples = raw.postprocess(
                output_bps=16,
                use_camera_wb=True,
                no_auto_bright=True,
                gamma=(2.4, 12.92),
                output_color=rawpy.ColorSpace.sRGB,
            )
    except rawpy.LibRawFileUnsupportedError:
        return None
    except rawpy.LibRawError as error:
        raise BrokenImage(f"{name} is truncated or damaged: {error}", "get an intact copy") from error
    exif = exif_of_tiff(data, int.from_bytes(data[4:8], "little" if data[:2] == b"II" else "big"))
    return Decoded(samples, 16, Metadata(exif=exif if data.startswith(TIFF_HEADS) else None))
