"""Synthesis of degradations from a random generator; the parameters are returned as labels.

MEDIUM and HIGH have about the ranges of the MiO100 benchmark (AgenticIR, arXiv 2410.17809); VERY_LOW is barely
visible. All images are (H, W, 3) float32 sRGB in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from imaging.convert import FloatArray, to_float, to_uint8
from toolbox.classical.streaks import centred, half_gaussian_kernel, line_kernel, splat
from toolbox.tasks import Degradation, Severity

Parameters: TypeAlias = Mapping[str, float | str]
Maker: TypeAlias = Callable[[FloatArray, np.random.Generator, float], tuple[FloatArray, Parameters]]
"""(image, random generator, strength in [0, 1]) -> (degraded image, parameters)."""


@dataclass(frozen=True, slots=True)
class Applied:
    """One degradation that was applied, with its parameters."""

    degradation: Degradation
    severity: Severity
    parameters: Parameters


D = Degradation
MIO100: tuple[tuple[Degradation, ...], ...] = (
    # Group A
    (D.RAIN, D.HAZE),
    (D.MOTION_BLUR, D.LOW_RESOLUTION),
    (D.DARK, D.NOISE),
    (D.DEFOCUS_BLUR, D.JPEG_ARTIFACT),
    (D.NOISE, D.JPEG_ARTIFACT),
    (D.RAIN, D.LOW_RESOLUTION),
    (D.MOTION_BLUR, D.DARK),
    (D.DEFOCUS_BLUR, D.HAZE),
    # Group B
    (D.MOTION_BLUR, D.JPEG_ARTIFACT),
    (D.HAZE, D.NOISE),
    (D.DEFOCUS_BLUR, D.LOW_RESOLUTION),
    (D.RAIN, D.DARK),
    # Group C
    (D.HAZE, D.MOTION_BLUR, D.LOW_RESOLUTION),
    (D.RAIN, D.NOISE, D.LOW_RESOLUTION),
    (D.DARK, D.DEFOCUS_BLUR, D.JPEG_ARTIFACT),
    (D.MOTION_BLUR, D.DEFOCUS_BLUR, D.NOISE),
)
"""The sixteen combinations of MiO100, each in the order of application."""


def degrade(
    pixels: FloatArray, degradation: Degradation, rng: np.random.Generator, severity: Severity | None = None
) -> tuple[FloatArray, Applied]:
    """Apply one degradation, by default with a random severity.

    LOW_RESOLUTION reduces the image by 2 (up to LOW) or 4; all others keep its size.
    """
    if severity is None:
        severity = Severity(int(rng.integers(len(Severity))))
    strength = (severity + rng.random()) / len(Severity)
    degraded, parameters = MAKERS[degradation](pixels, rng, float(strength))
    return np.clip(degraded, 0, 1).astype(np.float32), Applied(degradation, severity, parameters)


def mix(
    pixels: FloatArray,
    degradations: Sequence[Degradation],
    rng: np.random.Generator,
    severities: Sequence[Severity] | None = None,
) -> tuple[FloatArray, tuple[Applied, ...]]:
    """Apply several degradations in the given order."""
    applied = []
    for index, degradation in enumerate(degradations):
        pixels, one = degrade(pixels, degradation, rng, severities[index] if severities else None)
        applied.append(one)
    return pixels, tuple(applied)


# Noise


def add_noise(pixels: FloatArray, rng: np.random.Generator, strength: float) -> tuple[FloatArray, Parameters]:
    """Gaussian (grey or colour), Poisson, or sensor noise (Poisson and Gaussian)."""
    sigma = _between(3, 55, strength)
    kind = str(rng.choice(["gaussian", "gaussian", "gaussian_grey", "poisson", "sensor"]))
    if kind == "gaussian":
        return gaussian_noise(pixels, rng, sigma), {"kind": kind, "sigma_255": sigma}
    if kind == "gaussian_grey":
        noise = rng.normal(0, sigma / 255, pixels.shape[:2]).astype(np.float32)
        return pixels + noise[:, :, None], {"kind": kind, "sigma_255": sigma}
    # A Poisson count of `peak` photons at white has deviation sqrt(v / peak): as strong as sigma at mid-grey.
    peak = 0.5 / (sigma / 255) ** 2
    noisy = (rng.poisson(np.clip(pixels, 0, 1) * peak) / peak).astype(np.float32)
    if kind == "sensor":
        noisy = gaussian_noise(noisy, rng, sigma / 3)
    return noisy, {"kind": kind, "sigma_255": sigma, "peak": peak}


def gaussian_noise(pixels: FloatArray, rng: np.random.Generator, sigma_255: float) -> FloatArray:
    """Add white Gaussian noise of that standard deviation (on the 0 to 255 scale), independent in every channel."""
    return pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(sigma_255 / 255)


# Compression


def compress(pixels: FloatArray, rng: np.random.Generator, strength: float) -> tuple[FloatArray, Parameters]:
    """JPEG, in one of five cases twice with a shifted grid."""
    quality = round(_between(75, 8, strength**0.6))
    if rng.random() < 0.2:
        dy, dx = (int(value) for value in rng.integers(1, 8, 2))
        first = round(min(95, quality + rng.uniform(0, 30)))
        moved = jpeg(np.roll(pixels, (dy, dx), (0, 1)), first)
        return jpeg(np.roll(moved, (-dy, -dx), (0, 1)), quality), {"quality": quality, "first_quality": first}
    return jpeg(pixels, quality), {"quality": quality}


def resized(pixels: FloatArray, rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """Resize by a random interpolation method."""
    methods = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA if height < len(pixels) else cv2.INTER_LANCZOS4]
    method = methods[int(rng.integers(len(methods)))]
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method).clip(0, 1), np.float32)


def jpeg(pixels: FloatArray, quality: int) -> FloatArray:
    """Compress and decompress as JPEG with 4:2:0 chroma."""
    done, data = cv2.imencode(".jpg", to_uint8(pixels)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"JPEG of quality {quality} failed on {pixels.shape}")
    return to_float(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[:, :, ::-1])


# Blur


def blur_by_motion(pixels: FloatArray, rng: np.random.Generator, strength: float) -> tuple[FloatArray, Parameters]:
    """A straight line, half a Gaussian as in MiO100, or a camera shake path, with equal probability."""
    length = _between(3, 27, strength)
    angle = float(rng.uniform(0, 180))
    chance = rng.random()
    if chance < 1 / 3:
        kernel, kind = line_kernel(length, angle, taper=float(rng.uniform(0, 1))), "line"
    elif chance < 2 / 3:
        # MiO100's sigmas are 3, 5 and 8. This kernel is asymmetric, so that its angle covers 360 degrees.
        sigma, angle = _between(0.6, 8.0, strength), 2 * angle
        blurred = convolve(pixels, half_gaussian_kernel(sigma, angle))
        return blurred, {"kind": "half_gaussian", "sigma_px": sigma, "angle_degrees": angle}
    else:
        kernel, kind = path_kernel(length, rng), "path"
    return convolve(pixels, kernel), {"kind": kind, "length_px": length, "angle_degrees": angle}


def path_kernel(length: float, rng: np.random.Generator) -> FloatArray:
    """Kernel of a smooth random camera path, about `length` pixels long."""
    turns = np.cumsum(rng.normal(0, 0.25, 64)) + rng.uniform(0, 2 * np.pi)
    speed = np.abs(1 + 0.4 * np.cumsum(rng.normal(0, 0.15, 64)))
    speed *= length / speed.sum()
    x, y = np.cumsum(speed * np.cos(turns)), np.cumsum(speed * np.sin(turns))
    even = np.ones(64)
    return splat(*centred(x, y, even), even)


def blur_by_defocus(pixels: FloatArray, rng: np.random.Generator, strength: float) -> tuple[FloatArray, Parameters]:
    """A disk with a soft edge (as in MiO100), or in one of four cases a Gaussian."""
    radius = _between(0.8, 7.0, strength)
    if rng.random() < 0.25:
        return gaussian_blur(pixels, radius / 2), {"kind": "gaussian", "sigma_px": radius / 2}
    return convolve(pixels, disk_kernel(radius)), {"kind": "disk", "radius_px": radius}


def gaussian_blur(pixels: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur of that sigma in pixels, with reflected borders."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def disk_kernel(radius: float) -> FloatArray:
    """Kernel of a disk of that radius in pixels, with an antialiased edge."""
    reach = math.ceil(radius) + 1
    grid = np.arange(-reach, reach + 1)
    distance = np.hypot(*np.meshgrid(grid, grid))
    kernel = np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)
    return np.asarray(kernel / kernel.sum(), np.float32)


def convolve(pixels: FloatArray, kernel: FloatArray) -> FloatArray:
    """Convolution with reflected borders."""
    blurred = cv2.filter2D(pixels, -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32)


# Weather and light


def add_haze(pixels: FloatArray, rng: np.random.Generator, strength: float) -> tuple[FloatArray, Parameters]:
    """Scattering: I = J t + A (1 - t), t = exp(-beta * depth), with a random or estimated depth map."""
    beta, air = _between(0.2, 1.9, strength), float(rng.uniform(0.7, 1.0))
    tint = np.clip(air + rng.uniform(-0.03, 0.03, 3), 0, 1).astype(np.float32)
    estimated = bool(rng.random() < 0.5)
    depth = estimated_depth(pixels) if estimated else random_depth(pixels.shape[0], pixels.shape[1], rng)
    transmission = np.exp(-beta * depth)[:, :, None].astype(np.float32)
    hazy = pixels * transmission + tint * (1 - transmission)
    return hazy, {"beta": beta, "air": air, "depth": "estimated" if estimated else "random"}


def add_rain(pixels: FloatArray, rng: np.random.Generator, strength: float) -> tuple[FloatArray, Parameters]:
    """Bright streaks at one angle: drops of random brightness with motion blur."""
    amount = _between(10, 110, strength)
    length, angle = float(rng.uniform(15, 42)), float(rng.uniform(-30, 30))
    height, width = pixels.shape[:2]
    drops = rng.random((height, width), dtype=np.float32)
    drops = (drops < amount * 6e-5).astype(np.float32) * rng.uniform(0.3, 1.2, (height, width)).astype(np.float32)
    streaks = convolve(drops, line_kernel(length, 90 + angle, taper=0.7) * length)
    streaks = cv2.GaussianBlur(streaks, (0, 0), float(rng.uniform(0.4, 0.8))) * float(rng.uniform(0.4, 0.7))
    return pixels + np.clip(streaks, 0, 0.75)[:, :, None] * (1.0 - 0.4 * pixels), {
        "amount": amount,
        "length_px": length,
        "angle_degrees": angle,
    }


def darken(pixels: FloatArray, rng: np.random.Generator, strength: float) -> tuple[FloatArray, Parameters]:
    """Darken V of HSV by a shift, a gamma or a factor (as in MiO100), sometimes with the noise of dark photos."""
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    value = hsv[:, :, 2]
    kind = str(rng.choice(["shift", "gamma", "linear"]))
    amount = {
        "shift": _between(0.06, 0.27, strength),
        "gamma": _between(0.9, 0.33, strength),
        "linear": _between(0.85, 0.25, strength),
    }[kind]
    if kind == "shift":
        hsv[:, :, 2] = np.clip(value - amount, 0, 1)
    elif kind == "gamma":
        hsv[:, :, 2] = value ** (1 / amount)
    else:
        hsv[:, :, 2] = value * amount
    dark = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32)
    noise = float(rng.uniform(0, 3)) if rng.random() < 0.3 else 0.0
    return gaussian_noise(dark, rng, noise) if noise else dark, {"kind": kind, "amount": amount, "sigma_255": noise}


def random_depth(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """Depth that increases towards the top, plus smooth random variation; mean about 0.7."""
    hills = cv2.resize(rng.random((4, 4)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    ground = np.linspace(1.6, 0.4, height, dtype=np.float32)[:, None]
    depth: FloatArray = 0.4 * ground + 0.6 * np.clip(hills, 0, 1)
    return depth


def estimated_depth(pixels: FloatArray) -> FloatArray:
    """Depth by the colour attenuation prior (Zhu et al. 2015), increasing towards the top."""
    small = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    far = hsv[:, :, 2] - hsv[:, :, 1] + np.linspace(0.8, 0, 64, dtype=np.float32)[:, None]
    far = np.asarray(cv2.GaussianBlur(far, (0, 0), 4), np.float32)
    far = (far - far.min()) / max(float(far.max() - far.min()), 1e-3)
    depth: FloatArray = 0.25 + 0.9 * cv2.resize(far, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return depth


# Size


def shrink(pixels: FloatArray, rng: np.random.Generator, strength: float) -> tuple[FloatArray, Parameters]:
    """Reduce by 2 or 4, by antialiased bicubic (mostly), area or Lanczos sampling."""
    factor = 2 if strength < 0.4 else 4
    kind = str(rng.choice(["bicubic", "bicubic", "area", "lanczos"]))
    return downscale(pixels, factor, kind), {"factor": factor, "kind": kind}


def downscale(pixels: FloatArray, factor: int, kind: str = "bicubic") -> FloatArray:
    """Reduce to 1 / factor of the size (rounded down, at least 1) by bicubic, area or Lanczos sampling."""
    from imaging.convert import from_numpy, to_numpy
    from imaging.resizing import resize

    height, width = max(1, pixels.shape[0] // factor), max(1, pixels.shape[1] // factor)
    if kind == "bicubic":
        return to_numpy(resize(from_numpy(pixels), height, width))
    import PIL.Image

    method = {"area": PIL.Image.Resampling.BOX, "lanczos": PIL.Image.Resampling.LANCZOS}[kind]
    planes = [PIL.Image.fromarray(pixels[:, :, channel]).resize((width, height), method) for channel in range(3)]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def _between(low: float, high: float, strength: float) -> float:
    return low + (high - low) * strength


MAKERS: dict[Degradation, Maker] = {
    D.NOISE: add_noise,
    D.JPEG_ARTIFACT: compress,
    D.MOTION_BLUR: blur_by_motion,
    D.DEFOCUS_BLUR: blur_by_defocus,
    D.HAZE: add_haze,
    D.RAIN: add_rain,
    D.DARK: darken,
    D.LOW_RESOLUTION: shrink,
}
"""The degradations that can be synthesised: all but low-quality faces and old photos."""
