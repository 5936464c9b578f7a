"""Rows of stored datasets, with old names translated to current ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iqa.handcrafted.measure import current_names
from toolbox.aliases import current_expert


def handcrafted_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The handcrafted features of one image."""
    stored: Mapping[str, float] = row["handcrafted"] if "handcrafted" in row else row["evidence"]
    return dict(zip(current_names(stored), stored.values(), strict=True))


def current_candidate(name: str) -> str:
    """The current name of a candidate: the name of an expert, or of a synthesised failure."""
    return f"failure_{name.removeprefix('spoilt_')}" if name.startswith("spoilt_") else current_expert(name)
