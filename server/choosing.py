"""The profile that a caller means: one by name or file, with the wishes that are given beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.errors import RequestError

if TYPE_CHECKING:
    from profiles.schema import Profile

SCALES = (2, 4, 8, 16)
LONG_SIDES = (64, 16384)


def choose_profile(name: str, *, scale: int | None = None, long_side: int | None = None) -> Profile:
    """The profile called `name`, or in the file `name`; `scale` or `long_side` outrank what it says of size.

    Raises `ProfileError`, and `RequestError` for sizes that are not possible.
    """
    from profiles.loading import load_profile

    profile = load_profile(name)
    if scale is not None and long_side is not None:
        raise RequestError(f"scale {scale} and long side {long_side} cannot both be kept", "give only one of them")
    if scale is not None:
        if scale not in SCALES:
            raise RequestError(f"scale {scale} is not possible", f"choose one of {', '.join(map(str, SCALES))}")
        return profile.model_copy(update={"scale_factor": scale})
    if long_side is not None:
        if not LONG_SIDES[0] <= long_side <= LONG_SIDES[1]:
            raise RequestError(
                f"a long side of {long_side} pixels is not possible",
                f"choose one from {LONG_SIDES[0]} to {LONG_SIDES[1]}",
            )
        return profile.model_copy(update={"scale_factor": None, "upscale_4k": True, "long_side": long_side})
    return profile
