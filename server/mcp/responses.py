"""How a result goes back: structured, as text for clients that know only text, with links and a small picture."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcp.types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from pydantic import BaseModel

from agent.reasoners.sheet import candidate_sheet, mime_type, whole_and_detail
from agent.state import Step
from imaging.image import Image
from imaging.writing import thumbnail_jpeg
from server.schemas import Picture

THUMBNAIL_SIDE = 512
DIGITS = 5
"""Of a number that is no whole one; enough for the sides of pictures."""
MOST_PICTURE_BYTES = 60_000
MOST_SHEET_BYTES = 120_000
"""Clients cut replies off at about a megabyte, and a picture stays in the conversation."""


def response(report: BaseModel, *blocks: ContentBlock) -> CallToolResult:
    """A tool's result; its whole content is in the text as well."""
    content = short(report.model_dump(mode="json"))
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return CallToolResult(content=[TextContent(type="text", text=text), *blocks], structured_content=content)


def short(value: Any) -> Any:
    """The same with numbers of a few digits: models pay for each, and none of the rest means anything."""
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}")
        case dict():
            return {name: short(each) for name, each in value.items()}
        case list():
            return [short(each) for each in value]
        case _:
            return value


def thumbnail(image: Image, long_side: int = THUMBNAIL_SIDE) -> ImageContent:
    """The picture small enough for every client (a JPEG of some ten kilobytes)."""
    data = base64.b64encode(thumbnail_jpeg(image, long_side)).decode("ascii")
    return ImageContent(type="image", data=data, mime_type="image/jpeg")


def previews(image: Image) -> list[ImageContent]:
    """Pictures to judge by: the whole in small, and of a larger one a detail in its own pixels."""
    return [_content(data) for data in whole_and_detail(image, THUMBNAIL_SIDE, MOST_PICTURE_BYTES)]


def sheet(before: Image, candidates: Mapping[str, Image], step: Step) -> ImageContent:
    """The input and the candidates of a step side by side."""
    return _content(candidate_sheet(before, candidates, step, MOST_SHEET_BYTES))


def _content(data: bytes) -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(data).decode("ascii"), mime_type=mime_type(data))


def picture_link(picture: Picture, title: str, file: str | None = None) -> ResourceLink:
    """A link under which a picture can be read; `file`: where it is saved."""
    size = f"{picture.width}x{picture.height}"
    return ResourceLink(
        uri=f"image://{picture.handle}",
        name=Path(file).name if file else picture.handle,
        title=title,
        description=f"{size}, saved as {file}" if file else size,
        mime_type="image/png",
    )


def report_link(run: str) -> ResourceLink:
    """A link to the page that shows a run's work."""
    return ResourceLink(
        uri=f"run://{run}/report",
        name=f"{run}.html",
        title="How it was restored",
        description="Before and after, every step with its candidates and scores.",
        mime_type="text/html",
    )
