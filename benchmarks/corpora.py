"""Reads every file of public test corpora: our pixels must match independent readers, or there is one clear error.

    python -m benchmarks.corpora --data FOLDER

The folder has a sub-folder for each corpus. Needs OpenImageIO and libvips (`pip install openimageio pyvips-binary`),
which restore4k itself does not use. A picture is right if one of them has the same pixels to 1/255, colours
multiplied by alpha.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import reported
from imaging.errors import ImageError
from imaging.image import Image
from imaging.reading import read_image

Pixels = NDArray[Any]
"""(H, W, 4) RGB times alpha, and alpha, in [0, 1], upright."""
Reader = Callable[[Path], Pixels]
TOLERANCE = 1 / 255 + 1e-6
MOST_REASON = 160
EQUAL, REFUSED, OURS_REFUSED, ALONE, DIFFERENT = "equal", "refused by all", "refused by us", "read by us", "different"
EXPLAINED = {
    "*rgba*.bmp": "OpenImageIO does not follow the masks; ours equals rgba32-1.bmp, on which both agree, but for the "
    "rounding of few bits",
    "*rgb*32*.bmp": "OpenImageIO takes unused bits for alpha and follows no masks; ours equals its twin of 24 bits",
    "*pal8os2v2*.bmp": "OpenImageIO reads the header wrongly, now and then as no BMP; ours equals pal8.bmp",
    "*pal8badindex.bmp": "indices outside the palette, which have no colour",
    "*Bad_rletopdown*": "run lengths from the top, which the format forbids; OpenImageIO turns the picture over",
    "*rgb16*.bmp": "OpenImageIO refuses a palette that is only a hint",
    "*rgb24*pal.bmp": "OpenImageIO refuses a palette that is only a hint",
    "*hpredict_cmyk.tiff": "CMYK without a profile: each reader has its own; OpenImageIO drops alpha",
    "*cmyka-tile.tif": "CMYK without a profile: each reader has its own; OpenImageIO drops alpha",
    "*unknown-tags.tif": "CMYK without a profile: each reader has its own; OpenImageIO drops alpha",
    "*four_components.jpg": "CMYK with a profile: three readers, three conversions",
    "*lab8-lzw.tif": "Lab, which OpenImageIO converts otherwise",
    "*tiger-*float*-24.tif": "OpenImageIO does not decode floats of 24 bits; ours equals the same picture in 32 bits",
    "*tiger-*float*-64.tif": "OpenImageIO does not decode tiles of 64 bits; ours equals the same picture in 32 bits",
    "*flower-ycbcr44*.tif": "15 pixels in the last incomplete block differ from libtiff's",
    "*tiger-*-0[1-8].tif": "the others refuse this number of bits; ours reads it",
    "*tiger-*-64.tif": "the others refuse this number of bits; ours reads it",
    "*127.tif": "a fax with a line that ends early, which the others refuse",
    "*issue_2321.bmp": "run lengths beyond a line, which are cut",
    "*david.bmp": "run lengths beyond a line, which are cut",
}
"""Why no reader agrees with ours, by the name of the file."""
OUTCOMES = (EQUAL, REFUSED, OURS_REFUSED, ALONE, DIFFERENT)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one file."""

    kind: str
    """One of `OUTCOMES`."""
    reason: str = ""


def outcome(path: Path, readers: Mapping[str, Reader]) -> Outcome:
    """Read a file with our decoder and with independent ones. Raises errors other than `ImageError`."""
    theirs, refusals = dict[str, Pixels](), list[str]()
    for name, read in readers.items():
        try:
            theirs[name] = read(path)
        except Exception as error:
            refusals.append(f"{name}: {error}")
    try:
        ours = laid_out(*_parts(read_image(path)))
    except ImageError as error:
        by = f" (read by {', '.join(theirs)})" if theirs else ""
        return Outcome(OURS_REFUSED if theirs else REFUSED, f"{str(error).replace(str(path), path.name)}{by}")
    if not theirs:
        return Outcome(ALONE, "; ".join(refusals))
    apart = {name: difference(ours, pixels) for name, pixels in theirs.items()}
    if min(apart.values()) <= TOLERANCE:
        return Outcome(EQUAL)
    return Outcome(DIFFERENT, ", ".join(f"{name} {255 * most:.1f} of 255" for name, most in apart.items()))


def _parts(image: Image) -> tuple[Pixels, Pixels | None]:
    colours = image.pixels.numpy().transpose(1, 2, 0)
    return colours, None if image.alpha is None else image.alpha.numpy()[0, :, :, None]


def laid_out(colours: Pixels, alpha: Pixels | None) -> Pixels:
    """RGB or grey of (H, W, 3) or (H, W, 1), and straight alpha, as `Pixels`."""
    alpha = np.ones((*colours.shape[:2], 1), np.float32) if alpha is None else alpha
    return np.concatenate([np.repeat(colours, 3 // colours.shape[2], axis=2) * alpha, alpha], axis=2)


def difference(first: Pixels, second: Pixels) -> float:
    """The largest difference of a sample; infinite for different sizes and for NaN."""
    most = float(np.abs(first - second).max()) if first.shape == second.shape else np.nan
    return float("inf") if np.isnan(most) else most


def by_openimageio(path: Path) -> Pixels:
    """The first picture of a file. Raises `ValueError`."""
    import OpenImageIO

    plain = OpenImageIO.ImageSpec()
    plain.attribute("oiio:UnassociatedAlpha", 1)
    file = OpenImageIO.ImageInput.open(str(path), plain)
    if file is None:
        raise ValueError(OpenImageIO.geterror())
    pixels, spec = file.read_image(OpenImageIO.FLOAT), file.spec()
    if pixels is None:
        raise ValueError(file.geterror())
    place = spec.channelnames.index("A") if "A" in spec.channelnames else -1
    colours = np.delete(pixels, place, axis=2) if place >= 0 else pixels
    colours = colours[:, :, :3] if colours.shape[2] > 2 else colours[:, :, :1]
    alpha = pixels[:, :, place : place + 1] if place >= 0 else None
    is_straight = spec.getattribute("oiio:UnassociatedAlpha") == 1 or file.format_name() == "bmp"
    if alpha is not None and not is_straight:
        laid = np.concatenate([np.repeat(colours, 3 // colours.shape[2], axis=2), alpha], axis=2)
    else:
        laid = laid_out(colours, alpha)
    return upright(laid, spec.getattribute("Orientation") or 1)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turned as TIFF's tag 274 says."""
    flips = {2: "x", 3: "xy", 4: "y", 5: "t", 6: "tx", 7: "xyt", 8: "ty"}
    for flip in flips.get(orientation, ""):
        pixels = {"x": pixels[:, ::-1], "y": pixels[::-1], "t": pixels.swapaxes(0, 1)}[flip]
    return pixels


def by_libvips(path: Path) -> Pixels:
    """The first picture of a file. Raises `pyvips.Error`."""
    import pyvips

    picture = pyvips.Image.new_from_file(str(path), fail_on="error").autorot()
    if picture.interpretation == "cmyk":
        picture = picture.icc_transform("srgb")
    elif picture.interpretation in ("lab", "labs"):
        picture = picture.colourspace("srgb")
    pixels = np.atleast_3d(picture.numpy())
    if pixels.dtype.kind == "u":
        pixels = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    has_alpha = picture.hasalpha()
    return laid_out(pixels[:, :, :-1] if has_alpha else pixels, pixels[:, :, -1:] if has_alpha else None)


READERS: dict[str, Reader] = {"OpenImageIO": by_openimageio, "libvips": by_libvips}


def print_corpus(folder: Path, readers: Mapping[str, Reader]) -> dict[Path, Outcome]:
    """Print a row of the table, and return the outcomes."""
    found = {file: outcome(file, readers) for file in sorted(folder.rglob("*")) if file.is_file()}
    counts = Counter(one.kind for one in found.values())
    print(f"| {folder.name} | {len(found)} | {' | '.join(str(counts[kind]) for kind in OUTCOMES)} |", flush=True)
    return found


def print_files(found: Mapping[Path, Outcome], data: Path, kind: str) -> None:
    """The files of one outcome, with the reason."""
    files = {path: one.reason for path, one in found.items() if one.kind == kind}
    if files:
        print(f"\n## {kind.capitalize()}\n\n| file | | why |\n| --- | --- | --- |")
    for path, reason in files.items():
        plain = " ".join(reason.replace(str(path), path.name).split()).replace("|", "/")[:MOST_REASON]
        why = next((why for pattern, why in EXPLAINED.items() if fnmatch(path.name, pattern)), "")
        print(f"| {path.relative_to(data)} | {plain} | {why if kind in (ALONE, DIFFERENT) else ''} |")


@reported("corpora", "Public test corpora, file by file")
def main() -> None:
    """Print a table of the corpora, and the files that are not equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with a sub-folder for each corpus")
    data: Path = parser.parse_args().data
    print(f"| corpus | files | {' | '.join(OUTCOMES)} |\n|{' --- |' * (2 + len(OUTCOMES))}")
    found = dict[Path, Outcome]()
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        found |= print_corpus(folder, READERS)
    for kind in OUTCOMES[1:]:
        print_files(found, data, kind)


if __name__ == "__main__":
    main()
