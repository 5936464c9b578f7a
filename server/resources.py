"""What links in results lead to: images by handle, reports and traces by run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from imaging.errors import RestoreError
from imaging.image import Image
from imaging.resizing import fitted, resize
from imaging.writing import encode_image
from server.errors import UnknownHandle
from server.service import Service

MAX_IMAGE_BYTES = 4 << 20
PREVIEW_SIDE = 1024
RUN_PATTERN = r"[0-9A-Za-z][0-9A-Za-z_-]{0,80}"


def add_resources(server: MCPServer[Any], service: Service) -> None:
    """Put the resource templates on the server."""

    @server.resource(
        "image://{handle}",
        name="image",
        title="An image of the workspace",
        description="As 8-bit PNG where that is small enough to send; otherwise shrunk to a preview.",
        mime_type="image/png",
    )
    def read_picture(handle: str) -> bytes:
        try:
            return _png(service.workspace.load(handle, service.settings.limits()))
        except UnknownHandle as error:
            raise ResourceNotFoundError(str(error)) from error
        except RestoreError as error:
            raise ResourceError(str(error)) from error

    @server.resource(
        "run://{run}/report",
        name="report",
        title="The report of a run",
        description="A self-contained page: before and after, every step with its candidates and scores.",
        mime_type="text/html",
    )
    def read_report(run: str) -> str:
        return _run_file(service.settings.runs, run, "report.html")

    @server.resource(
        "run://{run}/trace",
        name="trace",
        title="The trace of a run",
        description="Every event of a run, one JSON object per line.",
        mime_type="application/x-ndjson",
    )
    def read_trace(run: str) -> str:
        return _run_file(service.settings.runs, run, "trace.jsonl")


def _png(image: Image) -> bytes:
    image = replace(image, bit_depth=8)
    if image.width * image.height <= MAX_IMAGE_BYTES:
        data = encode_image(image, "PNG")
        if len(data) <= MAX_IMAGE_BYTES:
            return data
    side = min(PREVIEW_SIDE, image.long_side)
    preview = resize(image.pixels, *fitted(image.height, image.width, side))
    return encode_image(image.with_pixels(preview), "PNG")


def _run_file(runs: Path, run: str, name: str) -> str:
    file = runs / run / name
    if not re.fullmatch(RUN_PATTERN, run) or not file.is_file():
        raise ResourceNotFoundError(f"there is no {name} of a run {run!r}")
    return file.read_text("utf-8")
