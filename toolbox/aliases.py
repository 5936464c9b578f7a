"""Earlier names of expert ids and card keys, which users' own files may still contain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD_KEYS = {
    "views": "self_ensemble",
    "begins_with": "preprocessor",
    "alone": "standalone",
    "instead": "alternatives",
    "folder": "bundle",
}
EXPERTS = {
    "restore4k_clean_noise": "restore4k_denoise_unet",
    "restore4k_clean_jpeg": "restore4k_jpeg_unet",
    "learned_curve": "learned_tone_curve",
    "learned_veil": "learned_transmission_map",
}


def current_keys(table: Mapping[str, Any]) -> dict[str, Any]:
    """A card's table with the current names of its keys."""
    return {CARD_KEYS.get(key, key): value for key, value in table.items()}


def current_expert(name: str) -> str:
    """The current id of an expert."""
    return EXPERTS.get(name, name)
