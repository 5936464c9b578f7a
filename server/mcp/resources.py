"""Resources: images by handle, reports and traces by run, experts and profiles by name."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.types import Resource

from agent.errors import RunError
from agent.report.page import report_page
from agent.run_folder import RunFolder
from imaging.errors import RestoreError
from imaging.image import Image
from imaging.resizing import fitted, resize
from imaging.writing import encode_image
from profiles.loading import predefined_profiles
from server.errors import UnknownHandle
from server.mcp.service import Service

MAX_IMAGE_BYTES = 4 << 20
PREVIEW_SIDE = 1024
RUN_PATTERN = r"[0-9A-Za-z][0-9A-Za-z_-]{0,80}"
MOST_LISTED = 20
"""Maximum runs, and maximum images, in the list; older ones can still be read by their URI."""
REPORT, TRACE, IMAGE = "run://{run}/report", "run://{run}/trace", "image://{handle}"
EXPERT, PROFILE = "expert://{name}", "profile://{name}"


def add_resources(server: MCPServer[Any], service: Service) -> None:
    """Put the resource templates on the server."""
    _add_images(server, service)
    _add_runs(server, service)
    _add_cards(server, service)


def run_ids(runs: Path) -> list[str]:
    """Every run in a folder of run folders, the newest first."""
    found = []
    for path in runs.glob("*/state.json"):
        with suppress(FileNotFoundError):  # removed meanwhile
            found.append((path.stat().st_mtime_ns, path.parent.name))
    return [name for _, name in sorted(found, reverse=True) if re.fullmatch(RUN_PATTERN, name)]


def _add_images(server: MCPServer[Any], service: Service) -> None:
    @server.resource(
        IMAGE,
        name="image",
        title="An image of the workspace",
        description="An 8-bit PNG; a reduced preview if the full image is too large to send.",
        mime_type="image/png",
    )
    def read_picture(handle: str) -> bytes:
        try:
            return _png(service.workspace.load(handle, service.settings.limits()))
        except UnknownHandle as error:
            raise ResourceNotFoundError(str(error)) from error
        except RestoreError as error:
            raise ResourceError(str(error)) from error


def _add_runs(server: MCPServer[Any], service: Service) -> None:
    @server.resource(
        REPORT,
        name="report",
        title="The report of a run",
        description="A self-contained HTML page: before and after, every step with its candidates and scores. "
        "For an unfinished run, its current state.",
        mime_type="text/html",
    )
    def read_report(run: str) -> str:
        return _report(_run_folder(service.settings.runs, run))

    @server.resource(
        TRACE,
        name="trace",
        title="The trace of a run",
        description="Every event of a run so far, one JSON object per line.",
        mime_type="application/x-ndjson",
    )
    def read_trace(run: str) -> str:
        file = _run_folder(service.settings.runs, run) / "trace.jsonl"
        if not file.is_file():
            raise ResourceNotFoundError(f"there is no trace of run {run!r} yet")
        return file.read_text("utf-8")


def _add_cards(server: MCPServer[Any], service: Service) -> None:
    @server.resource(
        EXPERT,
        name="expert",
        title="An expert",
        description="The card of an expert: task, scale, method, source, licence.",
        mime_type="application/json",
    )
    def read_expert(name: str) -> str:
        card = next((card for card in service.catalogue if card.name == name), None)
        if card is None:
            raise ResourceNotFoundError(f"there is no expert {name!r}; list_experts lists all")
        return card.model_dump_json(indent=1)

    @server.resource(
        PROFILE,
        name="profile",
        title="A profile",
        description="All settings of a profile.",
        mime_type="application/json",
    )
    def read_profile(name: str) -> str:
        profile = predefined_profiles().get(name)
        if profile is None:
            raise ResourceNotFoundError(f"there is no profile {name!r}; list_profiles lists all")
        return profile.model_dump_json(indent=1)


def latest(service: Service) -> list[Resource]:
    """The latest runs and images, for the client's list of resources."""
    found = []
    for run in run_ids(service.settings.runs)[:MOST_LISTED]:
        with suppress(RunError):  # damaged, or of another version
            state = RunFolder(service.settings.runs / run).load_state()
            photo = Path(state.source).name
            report = f"Report: {photo}" if state.finished else f"Report: {photo} (unfinished)"
            found.append(_listed(REPORT.format(run=run), f"{run}.html", report, "text/html"))
            found.append(_listed(TRACE.format(run=run), f"{run}.jsonl", f"Trace: {photo}", "application/x-ndjson"))
    handles = service.workspace.handles()[:MOST_LISTED]
    images = [_listed(IMAGE.format(handle=handle), handle, f"Image {handle}", "image/png") for handle in handles]
    return [*found, *images]


def _listed(uri: str, name: str, title: str, mime_type: str) -> Resource:
    return Resource(uri=uri, name=name, title=title, mime_type=mime_type)


def _png(image: Image) -> bytes:
    image = replace(image, bit_depth=8)
    if image.width * image.height <= MAX_IMAGE_BYTES:
        data = encode_image(image, "PNG")
        if len(data) <= MAX_IMAGE_BYTES:
            return data
    side = min(PREVIEW_SIDE, image.long_side)
    preview = resize(image.pixels, *fitted(image.height, image.width, side))
    return encode_image(image.with_pixels(preview), "PNG")


def _run_folder(runs: Path, run: str) -> Path:
    folder = runs / run
    if not re.fullmatch(RUN_PATTERN, run) or not (folder / "state.json").is_file():
        raise ResourceNotFoundError(f"there is no run {run!r}")
    return folder


def _report(folder: Path) -> str:
    try:
        state = RunFolder(folder).load_state()
    except RunError as error:
        raise ResourceError(str(error)) from error
    written = folder / "report.html"
    return written.read_text("utf-8") if state.finished and written.is_file() else report_page(state, folder)
