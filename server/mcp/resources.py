"""Resources: images by handle, reports and traces by run, experts and profiles by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import EventLoopToken
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent, SubscriptionBus
from mcp.types import Resource

from agent.events import CandidateJudged, Event, Finished, Progress, Started
from agent.report.page import report_page
from agent.run_folder import RunFolder
from imaging.errors import ImageTooLarge, RestoreError
from imaging.image import Image
from imaging.limits import Limits
from imaging.progress import ProgressToken
from imaging.resizing import fitted, resize
from imaging.writing import encode_image
from profiles.loading import predefined_profiles
from server.errors import UnknownHandle, UnknownRun
from server.mcp.jobs import Status
from server.mcp.service import RUN_PATTERN, Service

MAX_PREVIEW_BYTES = 700_000
"""Base64 adds a third, and clients truncate at a megabyte."""
PREVIEW_SIDES = (1024, 768, 512)
MAX_FULL_PIXELS = 20_000_000
MOST_LISTED = 20
"""Maximum runs, and maximum images, in the list; older ones can still be read by their URI."""
FULL = "image://{handle}/full"
REPORT, TRACE, IMAGE = "run://{run}/report", "run://{run}/trace", "image://{handle}"
EXPERT, PROFILE = "expert://{name}", "profile://{name}"


def add_resources(server: MCPServer[Any], service: Service) -> None:
    """Register the resource templates."""
    _add_images(server, service)
    _add_runs(server, service)
    _add_cards(server, service)


def run_ids(runs: Path) -> list[str]:
    """Every run in a folder of run folders, the newest first."""
    found = []
    for path in runs.glob("*/state.json"):
        with suppress(FileNotFoundError):  # removed meanwhile
            if not path.parent.is_symlink():
                found.append((path.lstat().st_mtime_ns, path.parent.name))
    return [name for _, name in sorted(found, reverse=True) if re.fullmatch(RUN_PATTERN, name)]


def _add_images(server: MCPServer[Any], service: Service) -> None:
    @server.resource(
        IMAGE,
        name="image",
        title="A preview of an image of the workspace",
        description="At most 1024 pixels and a megabyte; image://{handle}/full has all pixels.",
        mime_type="image/png",
    )
    async def read_preview(handle: str, context: Context[Any, Any]) -> bytes:
        return await _read_image(service, context, handle, service.settings.limits(), _preview)

    @server.resource(
        FULL,
        name="full image",
        title="An image of the workspace",
        description="All of its pixels as an 8-bit PNG, for images of at most 20 megapixels.",
        mime_type="image/png",
    )
    async def read_full(handle: str, context: Context[Any, Any]) -> bytes:
        limits = service.settings.limits()
        limits = replace(limits, max_pixels=min(limits.max_pixels, MAX_FULL_PIXELS))
        return await _read_image(service, context, handle, limits, lambda image: encode_image(image, "PNG"))


async def _read_image(
    service: Service, context: Context[Any, Any], handle: str, limits: Limits, encode: Callable[[Image], bytes]
) -> bytes:
    """Read an image of the workspace as a job, because several at once might not fit in memory."""

    def work(token: ProgressToken, _: Status) -> bytes:
        return encode(replace(service.workspace.load(handle, limits, token), bit_depth=8))

    with _as_resource_errors():
        await anyio.to_thread.run_sync(lambda: service.workspace.path(handle))  # an unknown handle is not queued
        return await service.jobs.run(context, "reading an image", work)


@contextmanager
def _as_resource_errors() -> Iterator[None]:
    try:
        yield
    except UnknownHandle as error:
        raise ResourceNotFoundError(str(error)) from error
    except UnknownRun as error:
        raise ResourceNotFoundError(error.message) from error
    except ImageTooLarge as error:
        raise ResourceError(f"{error.message}; its preview can be read, and details with the tool look") from error
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
        with _as_resource_errors():
            return report_page(service.run_state(run), service.run_folder(run), MAX_PREVIEW_BYTES)

    @server.resource(
        TRACE,
        name="trace",
        title="The trace of a run",
        description="Every event of a run so far, one JSON object per line.",
        mime_type="application/x-ndjson",
    )
    def read_trace(run: str) -> str:
        with _as_resource_errors():
            return RunFolder(service.run_folder(run)).read_trace().decode("utf-8", "replace")


def _add_cards(server: MCPServer[Any], service: Service) -> None:
    @server.resource(
        EXPERT,
        name="expert",
        title="An expert",
        description="The card of an expert: task, scale, method, source, licence.",
        mime_type="application/json",
    )
    def read_expert(name: str) -> str:
        card = next((card for card in service.experts.catalogue if card.name == name), None)
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
        with suppress(RestoreError):  # damaged, of another version, or removed meanwhile
            state = service.run_state(run)
            photo = Path(state.source).name
            report = f"Report: {photo}" if state.finished else f"Report: {photo} (unfinished)"
            found.append((REPORT.format(run=run), f"{run}.html", report, "text/html"))
            found.append((TRACE.format(run=run), f"{run}.jsonl", f"Trace: {photo}", "application/x-ndjson"))
    handles = service.workspace.handles()[:MOST_LISTED]
    found += [(IMAGE.format(handle=handle), handle, f"Image {handle}", "image/png") for handle in handles]
    return [Resource(uri=uri, name=name, title=title, mime_type=mime) for uri, name, title, mime in found]


def notify_of(event: Event, run: str, bus: SubscriptionBus, loop: EventLoopToken) -> None:
    """Notify subscribers, from the worker thread of a run, of the resources that an event of it changes.

    That is always the trace; the report per step; the list of resources at start and end.
    """
    if isinstance(event, Progress):
        return
    changes: list[ServerEvent] = [ResourceUpdated(uri=TRACE.format(run=run))]
    if not isinstance(event, CandidateJudged):
        changes.append(ResourceUpdated(uri=REPORT.format(run=run)))
    if isinstance(event, Started | Finished):
        changes.append(ResourcesListChanged())
    with suppress(RuntimeError):  # the server is shutting down
        for change in changes:
            anyio.from_thread.run(bus.publish, change, token=loop)


def _preview(image: Image) -> bytes:
    """The image as a PNG, reduced to fit the limit."""
    data = b""
    for side in PREVIEW_SIDES:
        small = resize(image.pixels, *fitted(image.height, image.width, min(side, image.long_side)))
        data = encode_image(image.with_pixels(small), "PNG")
        if len(data) <= MAX_PREVIEW_BYTES:
            break
    return data
