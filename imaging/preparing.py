"""Preparation of every picture for experts and measurements."""

from __future__ import annotations

from imaging.alpha import bleed_alpha
from imaging.image import Image
from imaging.network_space import in_network_space


def prepared(image: Image) -> Image:
    """The image in sRGB, with the colours of fully transparent pixels filled in."""
    return bleed_alpha(in_network_space(image))
