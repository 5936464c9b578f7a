"""A profile by name or file, with the options that override its settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from server.errors import RequestError
from server.settings import REASONER_VARIABLE

if TYPE_CHECKING:
    from profiles.schema import Profile

SCALES = (2, 4, 8, 16)
LONG_SIDES = (64, 16384)
REASONERS = ("rules", "endpoint", "local")


def choose_profile(
    name: str,
    *,
    scale: int | None = None,
    long_side: int | None = None,
    reasoner: str | None = None,
    max_seconds: float | None = None,
    max_expert_runs: int | None = None,
    non_commercial: bool = False,
) -> Profile:
    """Load the profile `name`, a predefined one or a file, and override its settings with those given.

    Without `reasoner`, RESTORE4K_REASONER overrides the profile's. `non_commercial` allows experts whose licence
    forbids commercial use. Raises `ProfileError`, and `RequestError` for invalid sizes, reasoners and budgets.
    """
    from profiles.loading import load_profile

    profile = within_budget(with_reasoner(load_profile(name), reasoner), max_seconds, max_expert_runs)
    if non_commercial:
        profile = profile.model_copy(update={"non_commercial": True})
    if scale is not None and long_side is not None:
        raise RequestError(f"scale {scale} and long side {long_side} exclude each other", "give only one of them")
    if scale is not None:
        if scale not in SCALES:
            raise RequestError(f"scale {scale} is not supported", f"choose one of {', '.join(map(str, SCALES))}")
        return profile.model_copy(update={"scale_factor": scale})
    if long_side is not None:
        if not LONG_SIDES[0] <= long_side <= LONG_SIDES[1]:
            raise RequestError(
                f"a long side of {long_side} pixels is not supported",
                f"choose one from {LONG_SIDES[0]} to {LONG_SIDES[1]}",
            )
        return profile.model_copy(update={"scale_factor": None, "upscale_4k": True, "long_side": long_side})
    return profile


def within_budget(profile: Profile, max_seconds: float | None, max_expert_runs: int | None) -> Profile:
    """The profile with the budgets that are given. Raises `RequestError`."""
    given = {"max_seconds": max_seconds, "max_expert_runs": max_expert_runs}
    budgets = {name: value for name, value in given.items() if value is not None}
    for name, value in budgets.items():
        if not value > 0:
            raise RequestError(f"{name} must be positive, not {value:g}", "give more than 0")
    return profile.model_copy(update=budgets)


def with_reasoner(profile: Profile, reasoner: str | None) -> Profile:
    """The profile with `reasoner`, or else with the one of RESTORE4K_REASONER, if either is given.

    Raises `RequestError`.
    """
    wanted = reasoner or os.environ.get(REASONER_VARIABLE, "").strip()
    if not wanted:
        return profile
    if wanted not in REASONERS:
        raise RequestError(f"there is no reasoner {wanted!r}", f"choose one of {', '.join(REASONERS)}")
    return profile.model_copy(update={"perception_agent": wanted})
