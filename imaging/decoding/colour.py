"""Colour spaces of files: ICC profiles, and spaces that are specified in other ways."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import imagecodecs
import numpy as np

from imaging.decoding.decoded import LEFT_OUT, Samples

WHITE = (0.3127, 0.3290)
SRGB_PRIMARIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_PRIMARIES = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
PRIMARIES = {
    1: SRGB_PRIMARIES,
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
"""Chromaticities by the code points of ITU-T H.273."""
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
LIKE_SRGB = (1, 6, 13, 14, 15)
"""Transfer characteristics of H.273 that are displayed as sRGB's."""
PQ, HLG = 16, 18
DISPLAY_P3 = 12
BEYOND_GAMUT = 4 / 255
"""Error of 10-bit files: a colour that is outside a gamut by less counts as inside."""
ADOBE_GAMMA = 563 / 256
SRGB_GAMMA = 0.02
"""Maximum difference of a gamma from 2.2 at which it is treated as sRGB's curve, as in browsers."""
MOST_PROFILE_BYTES = 4 << 20
CREATED, PROFILE_DATE = slice(24, 36), struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
"""Bytes of the creation date in a profile, and the date of profiles made here."""
REFERENCE_WHITE_NITS = 203.0
"""Luminance of diffuse white in PQ and HLG (ITU-R BT.2408)."""
KNEE = 0.8
"""Share of diffuse white up to which a high dynamic range picture keeps its values."""


def usable_profile(profile: Any, warnings: list[str]) -> bytes | None:
    """The ICC profile; None, with a warning, if it is invalid."""
    if not profile:
        return None
    kept = bytes(profile)
    if len(kept) > MOST_PROFILE_BYTES:
        warnings.append(LEFT_OUT.format("colour profile"))
        return None
    try:
        imagecodecs.cms_profile_validate(kept)
    except (imagecodecs.CmsError, ValueError):
        warnings.append("its colour profile is invalid, and was left out")
        return None
    return kept


@cache
def srgb_profile() -> bytes:
    """An ICC profile of sRGB."""
    return bytes(imagecodecs.cms_profile("srgb"))


@cache
def rgb_profile(
    primaries: Sequence[float] = SRGB_PRIMARIES, white: Sequence[float] = WHITE, gamma: float | None = None
) -> bytes | None:
    """An ICC profile of an RGB space; `gamma` None is sRGB's curve. None for sRGB itself."""
    is_srgb = np.allclose(primaries, SRGB_PRIMARIES, atol=2e-3) and np.allclose(white, WHITE, atol=2e-3)
    if is_srgb and (gamma is None or abs(gamma - 2.2) < SRGB_GAMMA):
        return None
    curve: dict[str, Any] = (
        {"transferfunction": srgb_decoded(np.linspace(0, 1, 4096))} if gamma is None else {"gamma": gamma}
    )
    try:
        profile = bytes(imagecodecs.cms_profile("rgb", whitepoint=[*white, 1], primaries=[*primaries], **curve))
    except (imagecodecs.CmsError, ValueError):  # invalid chromaticities
        return None
    # LittleCMS writes the current time, so the same picture would give a different file each time.
    return profile[: CREATED.start] + PROFILE_DATE + profile[CREATED.stop :]


def adobe_rgb_profile() -> bytes | None:
    """An ICC profile of Adobe RGB (1998)."""
    return rgb_profile(ADOBE_PRIMARIES, WHITE, ADOBE_GAMMA)


def srgb_decoded(values: Any) -> Any:
    """Linear light of sRGB values."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def srgb_encoded(light: Any) -> Any:
    """sRGB values of linear light."""
    return np.where(
        light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    ).astype(np.float32)


def by_code_points(
    samples: Samples, primaries: int, transfer: int, warnings: list[str]
) -> tuple[Samples, bytes | None]:
    """Samples and ICC profile of a picture whose space is named by code points of H.273 (cICP, nclx).

    PQ and HLG have no profile: they are converted to sRGB's curve, with diffuse white as white.
    """
    chromaticities = PRIMARIES.get(primaries, SRGB_PRIMARIES)
    if transfer in (PQ, HLG) and samples.shape[2] >= 3:
        return _standard_range(samples, chromaticities, transfer, warnings)
    return samples, rgb_profile(chromaticities, WHITE, GAMMAS.get(transfer))


def _standard_range(
    samples: Samples, primaries: Sequence[float], transfer: int, warnings: list[str]
) -> tuple[Samples, bytes | None]:
    """Samples with sRGB's curve and their profile, in the smallest usual gamut that holds all their colours.

    Networks know the channel correlations of sRGB and Display P3, which contain most colours of BT.2020 files.
    """
    light = _unit(samples[..., :3])
    light = _pq_light(light) if transfer == PQ else _hlg_light(light)
    peak = float(light.max())
    if peak > 1.001:
        warnings.append(f"a picture of high dynamic range: highlights up to {peak:.1f} times white are compressed")
        brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
        light *= _rolled_off(brightest, peak) / brightest
    light = np.clip(light, 0, 1)
    for smaller in (SRGB_PRIMARIES, PRIMARIES[DISPLAY_P3]):
        if (inside := _within(light, primaries, smaller)) is not None:
            light, primaries = inside, smaller
            break
    colours = srgb_encoded(light)
    rest = _unit(samples[..., 3:])
    return np.concatenate([colours, rest], axis=-1), rgb_profile(primaries)


def _within(light: Any, primaries: Sequence[float], smaller: Sequence[float]) -> Any:
    """Linear light in the space of other primaries; None if that cannot hold all colours."""
    before, after = rgb_profile(primaries, gamma=1.0), rgb_profile(smaller, gamma=1.0)
    if before == after:
        return light
    if before is None or after is None:
        return None
    light = np.ascontiguousarray(light, np.float32)
    moved = imagecodecs.cms_transform(light, before, after, colorspace="rgb", outcolorspace="rgb", intent=1)
    beyond = srgb_encoded(moved)  # the curve is linear below 0
    if beyond.min() < -BEYOND_GAMUT or beyond.max() > 1 + BEYOND_GAMUT:
        return None
    return np.clip(moved, 0, 1)


def _rolled_off(light: Any, peak: float) -> Any:
    """Identity up to the knee, then a smooth curve that maps `peak` to 1."""
    room = 1 - KNEE
    over, reach = np.maximum(light - KNEE, 0) / room, (peak - KNEE) / room
    # Reinhard's extended curve has slope 1 at the knee.
    return np.where(light <= KNEE, light, KNEE + room * over * (1 + over / reach**2) / (1 + over))


def _pq_light(values: Any) -> Any:
    """SMPTE ST 2084 values as linear light relative to diffuse white."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = np.maximum(values, 0).astype(np.float64) ** (1 / m2)
    nits = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return (nits / REFERENCE_WHITE_NITS).astype(np.float32)


def _hlg_light(values: Any) -> Any:
    """ITU-R BT.2100 HLG values as linear light relative to diffuse white, on a display of 1000 nits."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    return (scene * np.maximum(luminance, 1e-6)[..., None] ** 0.2 * 1000 / REFERENCE_WHITE_NITS).astype(np.float32)


def cmyk_to_srgb(samples: Samples, profile: bytes | None) -> Samples:
    """(H, W, 4) inks -> sRGB, through the profile if it is one for CMYK."""
    if samples.dtype == np.float32:
        samples = np.rint(np.clip(samples, 0, 1) * 65535).astype(np.uint16)
    if profile and profile[16:20] == b"CMYK":
        try:
            return _transformed(samples, profile, "cmyk")
        except imagecodecs.CmsError:
            pass
    most = np.iinfo(samples.dtype).max
    inks = samples.astype(np.uint32)
    light = (most - inks[..., :3]) * (most - inks[..., 3:])
    converted: Samples = ((light + most // 2) // most).astype(samples.dtype)
    return converted


def lab_to_srgb(samples: Samples, *, signed: bool) -> Samples:
    """(H, W, 3) L*a*b* of TIFF in 8 or 16 bit -> sRGB of the same depth."""
    wide = samples.dtype == np.uint16
    lightness = samples[..., :1].astype(np.float64) * (100 / (65535 if wide else 255))
    chroma = samples[..., 1:]
    if signed:
        ab = chroma.view(np.int16 if wide else np.int8).astype(np.float64) / (256 if wide else 1)
    else:
        ab = chroma.astype(np.float64) / (256 if wide else 1) - 128
    lab = np.concatenate([lightness, ab], axis=-1)
    rgb = imagecodecs.cms_transform(
        lab, _lab_profile(), srgb_profile(), colorspace="lab", outcolorspace="rgb", outdtype="uint16"
    )
    return np.asarray(rgb if wide else (rgb.astype(np.uint32) * 255 + 32767) // 65535).astype(samples.dtype)


@cache
def _lab_profile() -> bytes:
    return bytes(imagecodecs.cms_profile("lab4"))


def _transformed(samples: Samples, profile: bytes, space: str) -> Samples:
    return np.asarray(
        imagecodecs.cms_transform(
            np.ascontiguousarray(samples), profile, srgb_profile(), colorspace=space, outcolorspace="rgb"
        )
    )


def _unit(samples: Samples) -> Any:
    if samples.dtype == np.float32:
        return samples
    return samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
