"""The trials of benchmarks.quality: degraded pictures of bench photos, always the same ones, with the originals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from imaging.convert import FloatArray, from_numpy, to_numpy
from imaging.image import Image
from imaging.reading import read_image
from iqa.metrics.psnr import psnr, psnr_y
from toolbox.tasks import Severity, Task
from training.data.degradations import degrade, gaussian_noise, jpeg
from training.data.loading import load_photo, shrink

SEVERITIES = (Severity.LOW, Severity.MEDIUM, Severity.HIGH)
SETS = ("set5", "set14", "bsd100", "urban100")
DEGRADED = {
    "motion blur": Task.MOTION_DEBLURRING,
    "defocus": Task.DEFOCUS_DEBLURRING,
    "haze": Task.DEHAZING,
    "rain": Task.DERAINING,
    "dark": Task.BRIGHTENING,
}
Pair = tuple[Image, Image]


@dataclass(frozen=True, slots=True)
class Trial:
    """One column of one table: photos, their degradation, and the measure of results."""

    group: str
    name: str
    task: Task
    photos: tuple[Path, ...]
    make: Callable[[Path], Pair]
    """Degraded picture and truth."""
    scale: int = 1
    rgb: bool = False
    """PSNR over RGB instead of Y."""

    def pairs(self) -> Iterator[Pair]:
        """Degraded picture and truth of each photo."""
        return map(self.make, self.photos)

    def db(self, result: Image, truth: Image) -> float:
        """PSNR in dB: of Y with `scale` border pixels left out, as the literature does it, or of RGB."""
        if self.rgb:
            return psnr(result, truth)
        height, width = min(result.height, truth.height), min(result.width, truth.width)
        one, other = (image.with_pixels(image.pixels[:, :height, :width].contiguous()) for image in (result, truth))
        return psnr_y(one, other, crop=self.scale)


def trials(bench: Path, most_photos: int) -> list[Trial]:
    """Every trial that the folder `bench` has photos for; the degraded ones of `most_photos` photos of BSD100."""
    found = [trial for name in SETS if (bench / name / "hr").is_dir() for trial in _enlarged(bench / name)]
    if (bench / "bsd100" / "hr").is_dir():
        photos = spread(pictures(bench / "bsd100" / "hr"), most_photos)
        found += _stored(photos)
        for group, task in DEGRADED.items():
            found += [
                Trial(group, severity.words, task, photos, partial(_degraded, task=task, severity=severity))
                for severity in SEVERITIES
            ]
    return found


def _enlarged(folder: Path) -> Iterator[Trial]:
    photos = pictures(folder / "hr")
    if (folder / "lr_x4").is_dir():
        yield Trial("SR 4x", folder.name, Task.SUPER_RESOLUTION, photos, _given_small, scale=4)
    yield Trial("SR 2x", folder.name, Task.SUPER_RESOLUTION, photos, partial(_made_small, scale=2), scale=2)


def _stored(photos: tuple[Path, ...]) -> Iterator[Trial]:
    for sigma in (15, 25, 50):
        make = partial(_noisy, sigma=sigma)
        yield Trial("colour noise", f"sigma {sigma}", Task.DENOISING, photos, make, rgb=True)
    for quality in (10, 20, 40):
        yield Trial("JPEG", f"q{quality}", Task.JPEG_ARTIFACT_REMOVAL, photos, partial(_compressed, quality=quality))


def _given_small(photo: Path) -> Pair:
    return read_image(photo.parent.parent / "lr_x4" / photo.name), read_image(photo)


def _made_small(photo: Path, scale: int) -> Pair:
    pixels = load_photo(photo)
    height, width = (side // scale * scale for side in pixels.shape[:2])
    truth = _image(pixels[:height, :width].astype(np.float32) / np.float32(255))
    return _image(shrink(pixels, scale).astype(np.float32) / np.float32(255)), truth


def _noisy(photo: Path, sigma: int) -> Pair:
    """White Gaussian noise, neither rounded nor clipped to [0, 1], as in the evaluation of CBM3D and DnCNN."""
    truth = read_image(photo)
    return _image(gaussian_noise(to_numpy(truth.pixels), _rng(photo), sigma)), truth


def _compressed(photo: Path, quality: int) -> Pair:
    truth = read_image(photo)
    return _image(jpeg(to_numpy(truth.pixels), quality)), truth


def _degraded(photo: Path, task: Task, severity: Severity) -> Pair:
    truth = read_image(photo)
    degraded, _ = degrade(to_numpy(truth.pixels), task.degradation, _rng(photo), severity)
    return _image(degraded), truth


def _rng(photo: Path) -> np.random.Generator:
    return np.random.default_rng([int(digit) for digit in photo.stem if digit.isdigit()])


def _image(pixels: FloatArray) -> Image:
    return Image(from_numpy(pixels))


def pictures(folder: Path) -> tuple[Path, ...]:
    """The pictures of a folder by name."""
    return tuple(sorted(path for path in folder.iterdir() if path.suffix in (".png", ".webp", ".jpg")))


def spread(photos: tuple[Path, ...], most: int) -> tuple[Path, ...]:
    """At most that number of them, evenly spread."""
    chosen = np.linspace(0, len(photos) - 1, min(most, len(photos))).round().astype(int)
    return tuple(photos[index] for index in sorted(set(chosen.tolist())))
