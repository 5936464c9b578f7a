"""Preparation of every picture for experts and measurements."""

from __future__ import annotations

from dataclasses import replace

from imaging.alpha import bleed_alpha
from imaging.convert import rounded
from imaging.image import Image
from imaging.network_space import in_network_space


def prepared(image: Image) -> Image:
    """The image in sRGB, with the colours of fully transparent pixels filled in."""
    return bleed_alpha(in_network_space(image))


def as_stored(image: Image) -> Image:
    """The image rounded to 16 bits, in which runs and workspaces store it."""
    alpha = None if image.alpha is None else rounded(image.alpha)
    return replace(image, pixels=rounded(image.pixels), alpha=alpha)
