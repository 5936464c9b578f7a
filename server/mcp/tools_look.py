"""The tool that shows original pixels."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult
from pydantic import Field

from agent.regions import around, is_place, regions_of
from imaging.progress import ProgressToken
from server.errors import RequestError
from server.mcp.inputs import ImageArgument, OptionalImage, RegionArgument, as_text
from server.mcp.previews import AMPLIFIED, look_at, side_by_side, window_around
from server.mcp.responses import fact, picture_response, shown
from server.mcp.service import Service
from server.mcp.tool_registration import READS, JobTool, tool


@tool("Look", READS, kind=JobTool)
def look(
    service: Service,
    token: ProgressToken,
    image: ImageArgument,
    region: Annotated[
        RegionArgument,
        as_text(
            "x,y,w,h in fractions or pixels, face 1, centre, most detail, most changed; else the whole, reduced."
        ),
    ] = None,
    scale: Annotated[float | None, Field(gt=0, le=8, description="1 is 100 %, 2 magnifies.")] = None,
    beside: Annotated[OptionalImage, as_text("Second version, shown beside the first.")] = None,
    difference: Annotated[bool, Field(description="Second minus first, on grey.")] = False,
) -> CallToolResult:
    """Show part of a picture at full resolution, alone or beside another version. Judge sharpness, noise and
    invented texture here, not in previews. Seconds."""
    first = service.open(image, token, keep=False).image
    other = service.open(beside, token, keep=False).image if beside else None
    if difference and other is None:
        raise RequestError("a difference needs two pictures", "give `beside` too")
    token.check()
    box = around([one.box for one in regions_of(region or "", first, other)])
    larger = max((first, other or first), key=lambda one: one.long_side)
    if is_place(region or ""):
        box, scale = window_around(box, larger), scale or 1.0
    order: dict[str, str] = {}
    if other is None or beside is None:
        part = look_at(first, box, scale)
    else:
        part = side_by_side(first, other, box, scale, difference=difference)
        names = (image.text, beside.text)
        order = dict(zip(("above", "below") if part.is_above else ("left", "right"), names, strict=True))
        if difference:
            order = {"difference": f"{names[1]} minus {names[0]}, {AMPLIFIED:g} times as strong, on grey"}
    lines = [
        fact("shown", f"{part.region} of {larger.width}x{larger.height}, at {part.scale:.0%}"),
        *(fact(place, name) for place, name in order.items()),
    ]
    return picture_response(lines, shown(part.data))
