"""Results of tools: structured content, the same as text, links and small pictures."""

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
"""Significant digits of a float; enough for picture sizes."""
MOST_PICTURE_BYTES = 60_000
MOST_SHEET_BYTES = 120_000
"""Clients truncate replies at about a megabyte, and pictures stay in the conversation."""


def response(report: BaseModel, *blocks: ContentBlock) -> CallToolResult:
    """The result of a tool; its text repeats the structured content."""
    content = short(report.model_dump(mode="json"))
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return CallToolResult(content=[TextContent(type="text", text=text), *blocks], structured_content=content)


def short(value: Any) -> Any:
    """Round floats to the digits that matter, to save tokens."""
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
    """A thumbnail for every client: a JPEG of some ten kilobytes."""
    data = base64.b64encode(thumbnail_jpeg(image, long_side)).decode("ascii")
    return ImageContent(type="image", data=data, mime_type="image/jpeg")


def previews(image: Image) -> list[ImageContent]:
    """A thumbnail of the image, and a detail in original pixels if the image is larger."""
    return [_content(data) for data in whole_and_detail(image, THUMBNAIL_SIDE, MOST_PICTURE_BYTES)]


def sheet(before: Image, candidates: Mapping[str, Image], step: Step) -> ImageContent:
    """The input and the candidates of a step side by side."""
    return _content(candidate_sheet(before, candidates, step, MOST_SHEET_BYTES))


def _content(data: bytes) -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(data).decode("ascii"), mime_type=mime_type(data))


def picture_link(picture: Picture, title: str, file: str | None = None) -> ResourceLink:
    """A link to a picture; `file`: its path, if it is saved."""
    size = f"{picture.width}x{picture.height}"
    return ResourceLink(
        uri=f"image://{picture.handle}",
        name=Path(file).name if file else picture.handle,
        title=title,
        description=f"{size}, saved as {file}" if file else size,
        mime_type="image/png",
    )


def report_link(run: str) -> ResourceLink:
    """A link to the report of a run."""
    return ResourceLink(
        uri=f"run://{run}/report",
        name=f"{run}.html",
        title="How it was restored",
        description="Before and after, every step with its candidates and scores.",
        mime_type="text/html",
    )
