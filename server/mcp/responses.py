"""Results of tools: text with one fact per line, pictures and links; or structured content with the same as text.

Some clients show the model only the structured content of a result that has both; so only tools without pictures
return any.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mcp.types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from pydantic import BaseModel

from agent.reasoners.sheet import mime_type
from server.schemas import Picture

DIGITS = 4
"""Significant digits of a float."""


def data_response(report: BaseModel | dict[str, Any]) -> CallToolResult:
    """Structured content without empty fields, and the same as text."""
    content = report if isinstance(report, dict) else report.model_dump(mode="json", exclude_none=True)
    content = short(content)
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=content)


def picture_response(
    lines: Iterable[str], *blocks: ContentBlock, meta: dict[str, Any] | None = None
) -> CallToolResult:
    """Facts as lines `name: value`, then pictures and links. `meta`: for the view; models do not see it."""
    text = TextContent(type="text", text="\n".join(line for line in lines if line))
    return CallToolResult(content=[text, *blocks], _meta=meta)


def short(value: Any) -> Any:
    """Round floats to the digits that matter, and leave out empty fields, to save tokens."""
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}")
        case dict():
            return {name: short(each) for name, each in value.items() if each not in (None, {}, "")}
        case list() | tuple():
            return [short(each) for each in value]
        case _:
            return value


def fact(name: str, value: object) -> str:
    """One line; empty if there is no value."""
    if isinstance(value, float):
        value = short(value)
    return f"{name}: {' '.join(str(value).split())}" if value not in (None, "", (), []) else ""


def picture_line(picture: Picture, name: str = "image") -> str:
    """Handle and size of an image as a line."""
    return fact(name, f"{picture.handle} {picture.width}x{picture.height}")


def shown(data: bytes) -> ImageContent:
    """An encoded picture as content of a reply."""
    return ImageContent(type="image", data=base64.b64encode(data).decode("ascii"), mime_type=mime_type(data))


def picture_link(picture: Picture, title: str, file: str | None = None) -> ResourceLink:
    """A link to a picture; `file`: its path, if it is saved."""
    size = f"{picture.width}x{picture.height}"
    return ResourceLink(
        uri=f"image://{picture.handle}",
        name=Path(file).name if file else picture.handle,
        title=title,
        description=size,
        mime_type="image/png",
    )


def report_link(run: str) -> ResourceLink:
    """A link to the report of a run."""
    return ResourceLink(
        uri=f"run://{run}/report", name=f"{run}.html", title="How it was restored", mime_type="text/html"
    )
