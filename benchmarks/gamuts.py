"""The same degraded photos in sRGB, Display P3, Adobe RGB, linear light and PQ: does the container change the result?

    python -m benchmarks.gamuts --data DATA/bench/set14 --photos 6

Each photo gets one degradation (noise, JPEG, half the size) in sRGB, is stored in every space, and is restored by the
default profile. PSNR (RGB) of each result, converted to sRGB by LittleCMS, against the photo.
"""

from __future__ import annotations

import argparse
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from agent.run import restore_file
from benchmarks.agent_on import at_scale
from benchmarks.report import reported
from imaging.convert import to_numpy
from imaging.decoding.colour import PRIMARIES, adobe_rgb_profile, rgb_profile, srgb_decoded, srgb_profile
from imaging.reading import read_image
from profiles.loading import load_profile
from toolbox.pool import ExpertPool
from training.data.degradations import gaussian_noise, jpeg

SIDE = 192
BT2020, P3, PQ = 9, 12, 16
WHITE_NITS, PEAK_NITS = 203.0, 10_000.0
Pixels = NDArray[Any]
"""(H, W, 3) sRGB in [0, 1]."""


def halved(photo: Pixels) -> Pixels:
    """The photo at half its width and height."""
    small: Pixels = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return small


DEGRADATIONS: dict[str, tuple[int, Callable[[Pixels], Pixels]]] = {
    "noise 25": (1, lambda photo: gaussian_noise(photo, np.random.default_rng(0), 25)),
    "JPEG 20": (1, lambda photo: jpeg(photo, 20)),
    "half the size": (2, halved),
}
"""For each degradation, the scale of the restoration, and the function that applies it."""


def converted(values: Pixels, before: bytes, after: bytes) -> Pixels:
    """The values in another RGB space, by LittleCMS, relative colorimetric."""
    values = np.ascontiguousarray(values, np.float32)
    rgb = imagecodecs.cms_transform(values, before, after, colorspace="rgb", outcolorspace="rgb", intent=1)
    clipped: Pixels = np.clip(np.asarray(rgb), 0, 1)
    return clipped


def save_srgb(pixels: Pixels, file: Path) -> None:
    """Save 8 bits without a profile."""
    tifffile.imwrite(file, np.rint(pixels * 255).astype(np.uint8), photometric="rgb")


def saver(profile: bytes | None, levels: int) -> Callable[[Pixels, Path], None]:
    """A function that saves a picture in the space of a profile; white is `levels`."""
    assert profile is not None  # noqa: S101  # for the type checker

    def save(pixels: Pixels, file: Path) -> None:
        stored = np.rint(converted(pixels, srgb_profile(), profile) * levels)
        kind = np.uint8 if levels == 255 else np.uint16
        tifffile.imwrite(file, stored.astype(kind), photometric="rgb", iccprofile=profile)

    return save


def save_pq(pixels: Pixels, file: Path) -> None:
    """BT.2020 and SMPTE ST 2084, white at 203 nits: a PNG of 16 bit whose space cICP names."""
    linear, wide = rgb_profile(gamma=1.0) or b"", rgb_profile(PRIMARIES[BT2020], gamma=1.0) or b""
    power = (converted(srgb_decoded(pixels), linear, wide) * WHITE_NITS / PEAK_NITS) ** (2610 / 16384)
    values = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    _, data = cv2.imencode(".png", np.rint(values[..., ::-1] * 65535).astype(np.uint16))
    chunk = b"cICP" + bytes([BT2020, PQ, 0, 1])
    png, head = data.tobytes(), 33
    inserted = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    file.write_bytes(png[:head] + inserted + png[head:])


SPACES: dict[str, Callable[[Pixels, Path], None]] = {
    "sRGB": save_srgb,
    "Display P3": saver(rgb_profile(PRIMARIES[P3]), 255),
    "Adobe RGB": saver(adobe_rgb_profile(), 255),
    "linear, 16 bit": saver(rgb_profile(gamma=1.0), 65535),
    "PQ, BT.2020": save_pq,
}


def shown(file: Path) -> Pixels:
    """The picture in sRGB."""
    image = read_image(file)
    pixels = to_numpy(image.pixels)
    return pixels if image.icc_profile is None else converted(pixels, image.icc_profile, srgb_profile())


def figures(photo: Pixels, kind: str, experts: ExpertPool) -> dict[str, float]:
    """PSNR of the result from each space."""
    scale, degrade = DEGRADATIONS[kind]
    degraded = np.rint(np.clip(degrade(photo), 0, 1) * 255) / 255
    profile, found = at_scale(load_profile("default"), scale), {}
    with tempfile.TemporaryDirectory() as folder:
        for space, save in SPACES.items():
            source, output = Path(folder) / "in.img", Path(folder) / "out.tif"
            save(degraded, source)
            restore_file(source, output, profile, runs=Path(folder) / "runs", experts=experts, overwrite=True)
            found[space] = float(-10 * np.log10(np.mean((shown(output) - photo) ** 2)))
    return found


@reported("gamuts", "The same photos in other colour spaces")
def main() -> None:
    """Print a row for every photo, and the largest difference to sRGB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of clean photos")
    parser.add_argument("--photos", type=int, default=6)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.data.rglob("*") if path.suffix in (".png", ".webp", ".jpg"))
    chosen = np.random.default_rng(0).choice(len(files), min(arguments.photos, len(files)), replace=False)
    experts, differences = ExpertPool(), list[float]()
    print(f"| photo | degradation | {' | '.join(SPACES)} |\n|{' --- |' * (2 + len(SPACES))}", flush=True)
    for number, index in enumerate(chosen):
        whole = to_numpy(read_image(files[index]).pixels)
        top, left = ((side - SIDE) // 2 // 2 * 2 for side in whole.shape[:2])
        photo = np.ascontiguousarray(whole[max(top, 0) :, max(left, 0) :][:SIDE, :SIDE])
        kind = list(DEGRADATIONS)[number % len(DEGRADATIONS)]
        found = figures(photo, kind, experts)
        differences += [db - found["sRGB"] for db in found.values()]
        print(f"| {files[index].stem} | {kind} | {' | '.join(f'{db:.2f}' for db in found.values())} |", flush=True)
    print(f"\nLargest difference to sRGB: {max(map(abs, differences)):.2f} dB; lowest {min(differences):+.2f} dB.")


if __name__ == "__main__":
    main()
