"""Earlier spellings that users' own files may still have: keys of expert cards, and ids of experts."""

from __future__ import annotations

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


def current_expert(name: str) -> str:
    """The present id of an expert."""
    return EXPERTS.get(name, name)
