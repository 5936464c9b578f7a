"""A profile by name or file, with the options that override its settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from server.errors import RequestError
from server.settings import REASONER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiles.schema import Profile
    from toolbox.tasks import Task

SCALES = (2, 4, 8, 16)
SAME_SIZE = {"scale_factor": None, "upscale_4k": False, "require_sr_size": 0}
"""The keys of a profile that keeps the size of the input."""
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
    detail: float | None = None,
    grain: float | None = None,
) -> Profile:
    """Load the profile `name`, a predefined one or a file, and override its settings with those given.

    Without `reasoner`, RESTORE4K_REASONER overrides the profile's. `non_commercial` allows experts whose licence
    forbids commercial use. Raises `ProfileError`, and `RequestError` for invalid sizes, reasoners and budgets.
    """
    from profiles.loading import load_profile

    profile = load_profile(name)
    reasoner = reasoner or os.environ.get(REASONER_VARIABLE, "").strip() or None
    if reasoner and reasoner not in REASONERS:
        raise RequestError(f"there is no reasoner {reasoner!r}", f"choose one of {', '.join(REASONERS)}")
    budgets = {"max_seconds": max_seconds, "max_expert_runs": max_expert_runs}
    for budget, value in budgets.items():
        if value is not None and not value > 0:
            raise RequestError(f"{budget} must be positive, not {value:g}", "give more than 0")
    if scale is not None and long_side is not None:
        raise RequestError(f"scale {scale} and long side {long_side} exclude each other", "give only one of them")
    if scale is not None and scale not in (1, *SCALES):
        hint = f"choose 1 to keep the size, or one of {', '.join(map(str, SCALES))}"
        raise RequestError(f"scale {scale} is not supported", hint)
    if long_side is not None and not LONG_SIDES[0] <= long_side <= LONG_SIDES[1]:
        hint = f"choose one from {LONG_SIDES[0]} to {LONG_SIDES[1]}"
        raise RequestError(f"a long side of {long_side} pixels is not supported", hint)
    given = {**budgets, "detail": detail, "grain": grain, "scale_factor": scale, "perception_agent": reasoner}
    changes: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    if non_commercial:
        changes["non_commercial"] = True
    if scale == 1:
        changes |= SAME_SIZE
    if long_side is not None:
        changes |= {"scale_factor": None, "upscale_4k": True, "long_side": long_side}
    return profile.model_copy(update=changes)


def with_steps(profile: Profile, steps: Sequence[Task]) -> Profile:
    """The profile with these steps, in this order, as its plan."""
    return profile.model_copy(update={"plan": tuple(steps), "restore_option": None})
