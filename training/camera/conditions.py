"""The conditions of a simulated photograph: which degradations, and how severe; each value is a label."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Medium = Literal["digital", "film", "print", "half_tone"]
FAULTLESS = 0.2
"""Share of photographs taken in good light by a steady hand and stored well."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """One photograph. Lengths are in pixels of the finished picture; 0 means none."""

    iso: float = 100.0
    exposure_stops: float = 0.0
    """Intended darkness (negative): night, low key."""
    underexposed_stops: float = 0.0
    """Unintended darkness."""
    haze: float = 0.0
    """Scattering coefficient for depths of about 1."""
    haze_is_meant: bool = False
    """Intended haze, as of a foggy morning."""
    rain: bool = False
    motion_px: float = 0.0
    blur_px: float = 0.0
    blur_is_meant: bool = False
    """Intended blur: a shallow depth of field leaves the subject or a part of it out of focus."""
    chromatic_aberration_px: float = 0.0
    sensor_scale: float = 1.0
    """Side of the sensor's image divided by that of the picture: reduced if above 1, digital zoom if below."""
    camera_processing: bool = True
    medium: Medium = "digital"
    grain: float = 0.0
    """Deviation of film grain or paper texture, in display values."""
    dust: bool = False
    colour: Literal["colour", "grey", "toned"] = "colour"
    jpeg_quality: int | None = 95
    subsampling: Literal["420", "444"] = "420"
    sent_on: bool = False
    """Sent by a chat application, which reduces and recompresses it."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Conditions:
        """Draw conditions about as frequent as in real photographs, but with more faults."""
        common = cls._common(rng)
        if rng.random() < FAULTLESS:
            return replace(
                common,
                iso=_log_uniform(rng, 100, 400),
                jpeg_quality=int(rng.integers(85, 99)) if rng.random() < 0.8 else None,
            )
        medium: Medium = "digital"
        grain = 0.0
        chance = rng.random()
        if chance < 0.08:
            medium, grain = "film", _log_uniform(rng, 0.015, 0.12)
        elif chance < 0.12:
            medium, grain = ("print" if rng.random() < 0.6 else "half_tone"), _log_uniform(rng, 0.005, 0.05)
        return replace(
            common,
            iso=_log_uniform(rng, 100, 25_600),
            underexposed_stops=_amount(rng, 0.08, -rng.uniform(0.8, 3.5)),
            haze=_amount(rng, 0.09, rng.uniform(0.2, 1.7)),
            haze_is_meant=bool(rng.random() < 0.3),
            rain=bool(rng.random() < 0.05),
            motion_px=_amount(rng, 0.16, _log_uniform(rng, 2, 25)),
            blur_px=_amount(rng, 0.3, _log_uniform(rng, 0.5, 6)),
            blur_is_meant=bool(rng.random() < 0.3),
            medium=medium,
            grain=grain,
            dust=medium != "digital" and bool(rng.random() < 0.2),
            jpeg_quality=round(98 - 38 * rng.random() ** 1.5) if rng.random() < 0.9 else None,
            sent_on=bool(rng.random() < 0.15),
        )

    @classmethod
    def noisy(cls, rng: np.random.Generator) -> Conditions:
        """Mostly noise, to train denoisers, which must keep blur and haze."""
        drawn = cls.draw(rng)
        if rng.random() < 0.9 and drawn.medium == "digital":
            drawn = replace(drawn, iso=_log_uniform(rng, 200, 25_600))
        return replace(drawn, dust=False, rain=False)

    @classmethod
    def soft(cls, rng: np.random.Generator) -> Conditions:
        """A photograph through a poor or unfocused lens, or enlarged by digital zoom; one in eight is sharp."""
        drawn = cls.draw(rng)
        return replace(
            drawn,
            iso=min(drawn.iso, _log_uniform(rng, 100, 12_800)),
            underexposed_stops=0.0,
            haze=0.0,
            rain=False,
            dust=False,
            motion_px=0.0,
            blur_px=_log_uniform(rng, 0.5, 6) if rng.random() < 7 / 8 else 0.0,
            blur_is_meant=False,
            sensor_scale=drawn.sensor_scale if rng.random() < 0.7 else float(rng.uniform(0.35, 1)),
            medium="digital",
        )

    @classmethod
    def shallow(cls, rng: np.random.Generator) -> Conditions:
        """An intended shallow depth of field; other faults as usual."""
        return replace(
            cls.draw(rng), blur_px=_log_uniform(rng, 1, 15), blur_is_meant=True, motion_px=0.0, medium="digital"
        )

    @classmethod
    def full_resolution(cls, rng: np.random.Generator) -> Conditions:
        """A crop of a camera's own JPEG or PNG at 100 %: noise of any ISO, a lens in focus, no weather."""
        drawn = cls.draw(rng)
        return replace(
            drawn,
            iso=_log_uniform(rng, 100, 25_600),
            underexposed_stops=0.0,
            haze=0.0,
            rain=False,
            dust=False,
            motion_px=0.0,
            blur_px=0.0,
            sensor_scale=1.0,
            medium="digital",
            grain=0.0,
            jpeg_quality=int(rng.integers(88, 100)) if rng.random() < 0.85 else None,
            sent_on=False,
        )

    @classmethod
    def small(cls, rng: np.random.Generator) -> Conditions:
        """A small picture that is to be enlarged: a little of everything, but no weather and no strong blur."""
        drawn = cls.draw(rng)
        return replace(
            drawn,
            iso=min(drawn.iso, _log_uniform(rng, 100, 12_800)),
            exposure_stops=0.0,
            haze=0.0,
            rain=False,
            dust=False,
            underexposed_stops=0.0,
            motion_px=min(drawn.motion_px, 3.0),
            blur_px=min(drawn.blur_px, 2.0),
            medium="digital" if drawn.medium == "half_tone" else drawn.medium,
        )

    @classmethod
    def _common(cls, rng: np.random.Generator) -> Conditions:
        chance = rng.random()
        scale = 1.0 if chance < 0.35 else rng.uniform(1, 2.2) if chance < 0.8 else rng.uniform(0.5, 1)
        chance = rng.random()
        return cls(
            exposure_stops=_amount(rng, 0.22, -rng.uniform(0.5, 3.5)),
            chromatic_aberration_px=_amount(rng, 0.25, rng.uniform(0.1, 1)),
            sensor_scale=float(scale),
            camera_processing=bool(rng.random() < 0.85),
            colour="grey" if chance < 0.12 else "toned" if chance < 0.15 else "colour",
            subsampling="420" if rng.random() < 0.75 else "444",
        )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _amount(rng: np.random.Generator, share: float, value: float) -> float:
    """`value` in that share of cases, 0 otherwise."""
    return value if rng.random() < share else 0.0
