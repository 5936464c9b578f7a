"""The mask inside which a result replaces its input."""

from __future__ import annotations

from pathlib import Path

from agent.errors import RegionError
from agent.regions import FORMS, RegionMask, is_region
from server.mcp.inputs import InputImage
from server.mcp.service import Service


def mask_image(region: str | None) -> InputImage | None:
    """The mask image that a region argument names; None if it describes a region. Raises `RegionError` if neither."""
    if not region or is_region(region):
        return None
    image = InputImage.parse(region)
    if image.kind == "path" and not (Path(image.value).suffix or Path(image.value).is_absolute()):
        raise RegionError(f"there is no region {region[:80]!r}", FORMS)
    return image


def mask_for(service: Service, region: str | None) -> RegionMask | None:
    """The mask of a region argument, which may name a mask image that the client can read; None without one."""
    if not region:
        return None
    image = mask_image(region)
    return RegionMask.of(region, service.open(image, keep=False).image if image else None)
