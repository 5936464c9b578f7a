"""Parses the size of a result as people write it: 4K, 1.5x, 1920, 1200x800 crop, width 900, 12 MP, A4."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from imaging.limits import MIN_SIDE
from profiles.schema import Profile
from server.errors import RequestError
from server.profile_options import LONG_SIDES, SAME_SIZE, SCALES

NAMED = {
    "hd": 1280, "full hd": 1920, "2k": 2048, "uhd": 3840, "4k uhd": 3840, "4k": 4096, "5k": 5120,
    "6k": 6144, "8k": 8192,
}  # fmt: skip
"""Longer side in pixels; 4K and 8K as in cinema, and as in 4KAgent."""
PAPER_MM = {
    "a0": (1189, 841), "a1": (841, 594), "a2": (594, 420), "a3": (420, 297), "a4": (297, 210), "a5": (210, 148),
    "a6": (148, 105), "letter": (279.4, 215.9),
}  # fmt: skip
"""Longer and shorter side."""
MM_PER_INCH = 25.4
DEFAULT_DPI = 300.0
HINT = (
    'give "4K", "2x", "1920" (longer side), "width 1200", "height 800", "short 1080", "12 MP", "1200x800", '
    '"1200x800 crop" or "A4 at 300 dpi"'
)
MOST_NUMBER = 1e9
NUMBER = r"(\d{1,9}(?:\.\d{1,6})?)"


@dataclass(frozen=True, slots=True)
class Extent:
    """The size of one result: `scale` times, or exactly `final`."""

    scale: int | None = None
    final: tuple[int, int] | None = None
    """Width and height."""
    crop: bool = False
    """The input is first cropped to the aspect ratio of `final`."""

    def apply_to(self, profile: Profile, long_side: int) -> Profile:
        """The profile that plans for this size of an image with that longer side."""
        if self.scale is not None:
            return profile.model_copy(update={"scale_factor": self.scale})
        if self.final is None:
            return profile
        if max(self.final) <= long_side:  # nothing to enlarge
            return profile.model_copy(update=SAME_SIZE)
        return profile.model_copy(
            update={"scale_factor": None, "upscale_4k": True, "long_side": max(max(self.final), LONG_SIDES[0])}
        )


@dataclass(frozen=True, slots=True)
class TargetSize:
    """A requested size."""

    kind: Literal["scale", "long", "short", "width", "height", "megapixels", "fit", "crop", "paper", "paper crop"]
    first: float
    second: float = 0.0

    def of(self, width: int, height: int) -> Extent:
        """The size of the result for an image. Raises `RequestError` if it is not supported."""
        if self.kind == "scale" and self.first in SCALES:
            return Extent(scale=int(self.first))
        if self.kind == "crop":
            return _extent(self.first, self.second, crop=True)
        if self.kind == "paper crop":  # in the orientation of the image
            sides = (self.first, self.second) if width >= height else (self.second, self.first)
            return _extent(*sides, crop=True)
        factor = {
            "scale": self.first,
            "long": self.first / max(width, height),
            "short": self.first / min(width, height),
            "width": self.first / width,
            "height": self.first / height,
            "megapixels": math.sqrt(self.first * 1e6 / (width * height)),
            "fit": min(self.first / width, self.second / height),
            "paper": min(self.first / max(width, height), self.second / min(width, height)),
        }[self.kind]
        return _extent(factor * width, factor * height)

    def of_any(self, profile: Profile) -> Profile:
        """The profile for this size, the same for all images. Raises `RequestError` if it depends on the image."""
        if self.kind == "scale" and self.first in SCALES:
            return profile.model_copy(update={"scale_factor": int(self.first)})
        if self.kind == "scale" and self.first == 1:
            return profile.model_copy(update=SAME_SIZE)
        if self.kind == "long":
            side = max(_extent(self.first, self.first).final or ())
            return profile.model_copy(update={"scale_factor": None, "upscale_4k": True, "long_side": side})
        raise RequestError(
            "for a folder the size must fit every photo", 'give "4K", a longer side, 1x, 2x, 4x, 8x or 16x'
        )


def parse_size(given: object) -> TargetSize:
    """The requested size in a text or number. Raises `ValueError`."""
    if isinstance(given, int | float):
        given = f"{given:.10g}" if abs(given) < MOST_NUMBER else ""
    text = given
    if not isinstance(text, str):
        raise ValueError(HINT)
    text = " ".join(text.strip().lower().replace(",", " ").replace("×", "x").replace("pixels", "px").split())
    text = text.removesuffix(" px").removesuffix("px").strip()
    if text in NAMED:
        return TargetSize("long", NAMED[text])
    if paper := re.fullmatch(
        rf"(a[0-6]|letter)(?: landscape| portrait)?(?: (?:at )?{NUMBER} ?dpi)? ?(fit|crop|fill)?", text
    ):
        first, second = (side / MM_PER_INCH * float(paper[2] or DEFAULT_DPI) for side in PAPER_MM[paper[1]])
        return TargetSize("paper crop" if paper[3] in ("crop", "fill") else "paper", first, second)
    if box := re.fullmatch(r"(\d{1,6}) ?x ?(\d{1,6}) ?(fit|crop|fill)?", text):
        return TargetSize("crop" if box[3] in ("crop", "fill") else "fit", float(box[1]), float(box[2]))
    if scale := re.fullmatch(rf"(?:x ?{NUMBER}|{NUMBER} ?x|{NUMBER} times)", text):
        return TargetSize("scale", float(scale[1] or scale[2] or scale[3]))
    if pixels := re.fullmatch(rf"{NUMBER} ?(?:mp|megapixels?|mpx)", text):
        return TargetSize("megapixels", float(pixels[1]))
    if side := re.fullmatch(rf"(width|height|long|short)(?:[ _]?side)? ?[:=]? ?{NUMBER}", text):
        return TargetSize(side[1], float(side[2]))  # type: ignore[arg-type]
    if re.fullmatch(NUMBER, text):
        return TargetSize("long", float(text))
    raise ValueError(f"{str(given)[:40]!r} is not a size; {HINT}")


def _extent(width: float, height: float, *, crop: bool = False) -> Extent:
    final = max(1, round(width)), max(1, round(height))
    least, most = LONG_SIDES
    if not least <= max(final) <= most:
        raise RequestError(
            f"a longer side of {max(final)} pixels is not supported", f"choose one from {least} to {most}"
        )
    if min(final) < MIN_SIDE:
        raise RequestError(
            f"a result of {final[0]}x{final[1]} pixels is not supported",
            f"each side must have at least {MIN_SIDE} pixels",
        )
    return Extent(final=final, crop=crop)
