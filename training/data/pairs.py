"""Makers of training pairs, by the names that recipes use."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from imaging.convert import FloatArray, from_numpy, to_float, to_numpy
from imaging.resizing import resize
from toolbox.tasks import Degradation, Severity
from training.camera.conditions import Conditions
from training.camera.photograph import coloured, photograph
from training.data.degradations import (
    MAKERS,
    MIO100,
    degrade,
    downscale,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    mix,
    resized,
)
from training.data.loading import LUMA, Bytes, Degrader, Pair, shrink
from training.data.rain_synthesis import rain_pair
from training.data.second_order import second_order

LOW = (Severity.VERY_LOW, Severity.LOW, Severity.MEDIUM)
SAME_SIZE = tuple(name for name in MAKERS if name is not Degradation.LOW_RESOLUTION)
STORED = (Degradation.NOISE, Degradation.JPEG_ARTIFACT)
CLEAN_SHARE = 0.05
"""Share of clean photos, which blind networks learn to leave unchanged."""
PIXELS_PER_DETAIL = 1.2, 3.0
"""Range of the number of pixels of a large sensor per pixel of a reduced photo."""
STORED_BEFORE = 0.4


def degrader(name: str, scale: int) -> Degrader:
    """The maker called `name`, or `ValueError`.

    `bicubic`; `real` (blind super-resolution: blur, noise and JPEG around the reduction); `face` (the same, enlarged
    again); `stored` (noise, JPEG, or one after the other); `grain` (noise, half of it white and unclipped, as in the
    evaluation of denoisers); `blocks` (JPEG, half of it of low quality); `rain_synthesis` (rain, two thirds of it by
    `rain_pair`); `camera_noise` (three fifths photographs of `training.camera`, the rest `stored`); `camera_soft`
    (photographs by a blurring lens); `camera_small` (half small photographs, half `real`); `second_order` (training
    inputs of Real-ESRGAN); `mild` (clean or nearly clean); `web` (compressed at another size); `all` (any same-size
    degradation, and mixtures); or one degradation by its name, or several joined by `+`, of which one is drawn.
    """
    if name == "bicubic":
        return lambda patch, rng: bicubic(patch, scale)
    if name == "real":
        return lambda patch, rng: real(patch, scale, rng)
    if name == "stored":
        return stored
    if name == "grain":
        return lambda patch, rng: (white if rng.random() < 0.5 else degrader("noise", scale))(patch, rng)
    if name == "blocks":
        return lambda patch, rng: (coarse if rng.random() < 0.5 else degrader("jpeg_artifact", scale))(patch, rng)
    if name == "rain_synthesis":
        return lambda patch, rng: (rain_pair if rng.random() < 2 / 3 else degrader("rain", scale))(patch, rng)
    if name == "camera_noise":
        return lambda patch, rng: (camera_noise if rng.random() < 0.6 else stored)(patch, rng)
    if name == "camera_soft":
        return camera_soft
    if name == "camera_small":
        return lambda patch, rng: (camera_small if rng.random() < 0.5 else real)(patch, scale, rng)
    if name == "second_order":
        return lambda patch, rng: second_order(patch, scale, rng)
    if name == "mild":
        return lambda patch, rng: mild(patch, scale, rng)
    if name == "web":
        return lambda patch, rng: web(patch, scale, rng)
    if name == "face":
        return lambda patch, rng: (clean if rng.random() < CLEAN_SHARE else face)(patch, rng)
    if name == "all":
        return anything
    degradations = [Degradation(part) for part in name.split("+")]
    return lambda patch, rng: one_of(patch, degradations, rng)


def kinds(name: str, scale: int) -> dict[str, Degrader]:
    """The degradations that `degrader(name, scale)` combines, one by one: the rows of a table of figures."""
    if name == "camera_soft":
        return {str(Degradation.DEFOCUS_BLUR): camera_soft, "clean": clean}
    if name in ("bicubic", "real", "second_order", "web"):
        return {name: degrader(name, scale)}
    if name == "stored":
        return {**kinds("+".join(STORED), scale), "noise, jpeg_artifact": noise_then_jpeg, "clean": clean}
    if name == "camera_noise":
        return {"camera_noise": camera_noise, **kinds("stored", scale)}
    if name == "camera_small":
        return {"camera_small": lambda patch, rng: camera_small(patch, scale, rng), **kinds("real", scale)}
    if name == "grain":
        return {**kinds("noise", scale), "white": white, "clean": clean}
    if name == "blocks":
        return {**kinds("jpeg_artifact", scale), "coarse": coarse, "clean": clean}
    if name == "rain_synthesis":
        return {**kinds("rain", scale), "rain_synthesis": rain_pair, "clean": clean}
    if name == "face":
        return {str(Degradation.LOW_QUALITY_FACE): face, "clean": clean}
    if name == "all":
        singles = list(SAME_SIZE)
        return {**kinds("+".join(singles), scale), "mixture": mixture, "clean": clean}
    return {part: _only(Degradation(part)) for part in name.split("+")}


def _only(degradation: Degradation) -> Degrader:
    def make(patch: Bytes, rng: np.random.Generator) -> Pair:
        return degrade(to_float(patch), degradation, rng)[0], to_float(patch)

    return make


def clean(patch: Bytes, rng: np.random.Generator) -> Pair:
    """The clean patch as input and as target."""
    return to_float(patch), to_float(patch)


def one_of(patch: Bytes, degradations: Sequence[Degradation], rng: np.random.Generator) -> Pair:
    """One of the degradations at any severity, seldom none."""
    if rng.random() < CLEAN_SHARE:
        return clean(patch, rng)
    return _only(degradations[int(rng.integers(len(degradations)))])(patch, rng)


def anything(patch: Bytes, rng: np.random.Generator) -> Pair:
    """Three in five a single degradation, otherwise a mixture."""
    return one_of(patch, SAME_SIZE, rng) if rng.random() < 0.6 else mixture(patch, rng)


def stored(patch: Bytes, rng: np.random.Generator) -> Pair:
    """Half of them noise or JPEG, the other half noise that was then compressed, as cameras do."""
    return one_of(patch, STORED, rng) if rng.random() < 0.5 else noise_then_jpeg(patch, rng)


def camera_noise(patch: Bytes, rng: np.random.Generator) -> Pair:
    """A photograph with the noise and compression of a camera, and the same without them; half of them at 100 %."""
    pixels, conditions = to_float(patch), Conditions.noisy(rng)
    if rng.random() < 0.5:
        pixels, conditions = full_resolution_crop(pixels, patch.shape[0], rng), Conditions.full_resolution(rng)
    taken = photograph(pixels, conditions, rng)
    return taken.picture, taken.without_noise


def full_resolution_crop(pixels: FloatArray, side: int, rng: np.random.Generator) -> FloatArray:
    """A (side, side, 3) crop as a large sensor sees it: the finest detail after the lens is wider than a pixel."""
    crop = min(round(side / rng.uniform(*PIXELS_PER_DETAIL)), *pixels.shape[:2])
    top, left = (int(rng.integers(length - crop + 1)) for length in pixels.shape[:2])
    patch = pixels[top : top + crop, left : left + crop]
    return np.asarray(cv2.resize(patch, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1), np.float32)


def camera_soft(patch: Bytes, rng: np.random.Generator) -> Pair:
    """A photograph by a blurring lens, and the sharp one."""
    taken = photograph(to_float(patch), Conditions.soft(rng), rng)
    return taken.picture, taken.reference


def camera_small(patch: Bytes, scale: int, rng: np.random.Generator) -> Pair:
    """A small photograph as a camera takes and stores it, and the sharp, clean picture that is `scale` times larger.

    The input is as bright as the target; the network must undo the camera's sharpening.
    """
    target = to_float(patch)
    blurred = gaussian_blur(target, float(rng.uniform(0.1, 1.5))) if rng.random() < 0.3 else target
    small = downscale(blurred, scale, str(rng.choice(["bicubic", "area", "lanczos"]))).clip(0, 1)
    conditions = Conditions.small(rng)
    return photograph(small.astype(np.float32), conditions, rng).picture, coloured(target, conditions)


def web(patch: Bytes, scale: int, rng: np.random.Generator) -> Pair:
    """A small picture as the web passes it on: compressed at another size, resized, sharpened, compressed again.

    The blocks of the first compression are blurred or off the grid of 8 pixels, which hides them from networks that
    have learned from fresh ones. One picture in four is grey or toned.
    """
    tone = rng.choice(["colour", "grey", "toned"], p=[0.75, 0.17, 0.08])
    target = coloured(to_float(patch), Conditions(colour=tone))
    height, width = (size // scale for size in target.shape[:2])
    before = 1.0 if rng.random() < 0.3 else float(np.exp(rng.uniform(np.log(0.7), np.log(2.5))))
    picture = resized(target, rng, round(height * before), round(width * before))
    picture = jpeg(picture, round(15 * np.exp(rng.uniform(0, np.log(6)))))
    picture = resized(picture, rng, height, width)
    if rng.random() < 0.35:
        picture = picture + np.float32(rng.uniform(0.2, 1)) * (
            picture - gaussian_blur(picture, float(rng.uniform(0.5, 1.2)))
        )
    if rng.random() < 0.2:
        picture = gaussian_noise(picture, rng, float(rng.uniform(0.5, 4)))
    picture = picture.clip(0, 1).astype(np.float32)
    return jpeg(picture, int(rng.integers(50, 97))) if rng.random() < 0.6 else picture, target


def mild(patch: Bytes, scale: int, rng: np.random.Generator) -> Pair:
    """A clean or nearly clean small picture, as after cleaning. The target has half the side of the patch.

    Most targets are photos at half their size, whose edges and textures are as sharp as pixels allow. One in four is
    blurred, as if out of focus, and must stay so; one in eight is grey.
    """
    pixels = to_float(patch)
    if rng.random() < 1 / 8:
        pixels = np.repeat((pixels @ LUMA)[..., None], 3, axis=2)
    side = patch.shape[0] // 2
    if rng.random() < 0.7:
        target = downscale(pixels, 2, str(rng.choice(["area", "lanczos"]))).clip(0, 1).astype(np.float32)
    else:
        target = pixels[side // 2 : side // 2 + side, side // 2 : side // 2 + side]
    if rng.random() < 1 / 4:
        target = gaussian_blur(target, float(rng.uniform(1, 6)))
    small = downscale(target, scale, str(rng.choice(["bicubic", "area", "lanczos"]))).clip(0, 1)
    if rng.random() < 0.5:
        small = gaussian_noise(small, rng, float(rng.uniform(0, 3))).clip(0, 1)
    if rng.random() < 0.5:
        small = jpeg(small, int(rng.integers(80, 100)))
    return small.astype(np.float32), target


def white(patch: Bytes, rng: np.random.Generator) -> Pair:
    """White Gaussian noise, neither rounded nor clipped to [0, 1]."""
    target = to_float(patch)
    return gaussian_noise(target, rng, float(rng.uniform(3, 55))), target


def coarse(patch: Bytes, rng: np.random.Generator) -> Pair:
    """One JPEG compression of low quality, with the grid aligned to the corner."""
    target = to_float(patch)
    return jpeg(target, int(rng.integers(5, 26))), target


def noise_then_jpeg(patch: Bytes, rng: np.random.Generator) -> Pair:
    """Noise, compressed afterwards."""
    return mix(to_float(patch), STORED, rng)[0], to_float(patch)


def mixture(patch: Bytes, rng: np.random.Generator) -> Pair:
    """One of MiO100's combinations without the reduction."""
    combination = MIO100[int(rng.integers(len(MIO100)))]
    pixels = to_float(patch)
    return mix(pixels, [name for name in combination if name is not Degradation.LOW_RESOLUTION], rng)[0], pixels


def real(patch: Bytes, scale: int, rng: np.random.Generator) -> Pair:
    """The degradations of a small picture from the web: blur, reduction, noise, compression, each of them sometimes.

    Two in five were stored before at another size (Real-ESRGAN, Wang et al. 2021, calls that second order).
    """
    target = to_float(patch)
    degraded: FloatArray = target
    if rng.random() < 0.6:
        blur = Degradation.DEFOCUS_BLUR if rng.random() < 0.7 else Degradation.MOTION_BLUR
        degraded, _ = mix(degraded, [blur], rng, [LOW[int(rng.integers(len(LOW)))]])
    if rng.random() < STORED_BEFORE:
        height, width = (size // scale for size in target.shape[:2])
        before = rng.uniform(0.7, 2.2)
        degraded = resized(degraded, rng, round(height * before), round(width * before))
        degraded, _ = degrade(
            degraded, Degradation.JPEG_ARTIFACT, rng, Severity(int(rng.integers(Severity.VERY_HIGH)))
        )
        degraded = resized(degraded, rng, height, width)
    else:
        degraded = np.clip(downscale(degraded, scale, str(rng.choice(["bicubic", "area", "lanczos"]))), 0, 1)
    for name in (Degradation.NOISE, Degradation.JPEG_ARTIFACT):
        if rng.random() < 0.6:
            degraded, _ = degrade(degraded, name, rng, LOW[int(rng.integers(len(LOW)))])
    return degraded.astype(np.float32), target


def face(patch: Bytes, rng: np.random.Generator) -> Pair:
    """The degradations of blind face restoration: Gaussian blur, reduction, noise and JPEG, enlarged to
    the original size.

    GFPGAN (Wang et al. 2021, section 4.1) draws sigma from 0.2 to 10, reductions from 1 to 8, noise up to 15 and
    JPEG from 60 to 100. Noise and JPEG are the same here; blur and reduction end at 4, since beyond it no
    features of the face are left, and a network without a generative prior can only smooth it.
    """
    target = to_float(patch)
    blurred = gaussian_blur(target, float(rng.uniform(0.2, 4)))
    small = downscale(blurred, int(rng.integers(1, 5)), str(rng.choice(["bicubic", "area", "lanczos"])))
    stored = jpeg(gaussian_noise(small, rng, float(rng.uniform(0, 15))), int(rng.integers(60, 101)))
    return to_numpy(resize(from_numpy(stored), *target.shape[:2])), target


def bicubic(patch: Bytes, scale: int) -> Pair:
    """Classical super-resolution: the input is the bicubic reduction."""
    return to_float(shrink(patch, scale)), to_float(patch)
