"""Rain in thumbnails, where streaks are hardly seen: by what the deraining network would take away."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources

from imaging.control import Control
from imaging.image import Image
from iqa.pieces import Pieces
from toolbox.catalogue import default_catalogue
from toolbox.expert import Expert, load_expert, looking_once
from toolbox.tasks import Severity

EXPERT = "restore4k_derain"
THUMBNAIL_PX = 320
"""Long side below which it is asked."""
DOUBT = 0.03
"""Where the estimator gives rain a chance within so much of 0 or 1 it needs no second look."""
FAINT = 0.1
"""Light of 255 that is added to what was taken away, so that nothing has a logarithm."""


def second_look(reached: Sequence[float], pieces: Pieces) -> list[float]:
    """The chances that each level of rain is reached in a thumbnail, given what the estimator says they are.

    A logistic regression on its chance that deraining is worth a task and on the light that deraining takes away
    moves all of them alike (`python -m training.fit_rain`).
    """
    chance = reached[Severity.MEDIUM - 1]
    if not DOUBT < chance < 1 - DOUBT:
        return list(reached)
    fitted, first = _fitted(), _logit(chance)
    second = fitted["chance"] * first + fitted["removed"] * math.log(removed_255(pieces) + FAINT) + fitted["constant"]
    return [1 / (1 + math.exp(first - second - _logit(value))) for value in reached]


def removed_255(pieces: Pieces) -> float:
    """The mean light that deraining takes from the pieces of a picture, of 255; 0 where it adds some."""
    near = {piece.numpy().tobytes(): piece for piece in pieces.near}  # of very small pictures all nine are the same
    lost = [float((piece - _expert()(Image(piece), Control()).pixels).mean()) for piece in near.values()]
    return max(0.0, 255 * sum(lost) / len(lost))


def _logit(chance: float) -> float:
    chance = min(max(chance, 1e-6), 1 - 1e-6)
    return math.log(chance / (1 - chance))


@cache
def _expert() -> Expert:
    return looking_once(load_expert(default_catalogue().card(EXPERT)))


@cache
def _fitted() -> dict[str, float]:
    return tomllib.loads((resources.files("iqa") / "rain.toml").read_text("utf-8"))
