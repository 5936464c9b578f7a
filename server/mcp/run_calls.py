"""Begin a run, or join an equal one, and reply with its result or its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio.to_thread
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import BaseModel

from imaging.progress import ProgressToken
from server.mcp.inputs import InputImage
from server.mcp.jobs import Status
from server.mcp.runs import Reply, RunUnderWay, key_of, new_id
from server.mcp.service import Service
from toolbox.availability import CAN_RUN, availability

MOST_NAME = 80
RunWork: TypeAlias = Callable[[str, ProgressToken, Status], Reply]
"""The work of the run with that identifier."""


async def run_or_join(
    service: Service,
    context: Context[Any, Any],
    tool: str,
    arguments: Mapping[str, Any],
    work: RunWork,
    wait_seconds: float | None = None,
) -> CallToolResult:
    """Reply with the result of a run, or its state after `wait_seconds` (None: the server's). Raises its error."""
    key, known = await anyio.to_thread.run_sync(_identify, service, tool, arguments)
    name = known or new_id(key)
    photo = await anyio.to_thread.run_sync(_photo, service, arguments)
    run, joined = await service.runs.begin(context, tool, photo, key, partial(work, name), name)
    reply = await service.runs.wait(context, run, wait_seconds)
    return reply or RunUnderWay.of(run, joined)


def _identify(service: Service, tool: str, arguments: Mapping[str, Any]) -> tuple[str, str | None]:
    """The key of a call, and the restoration on disk with that key. Raises `RequestError` and `ImageError`."""
    plain = {name: _plain(service, value) for name, value in arguments.items()}
    experts = service.experts
    able = [card.name for card in experts.catalogue if availability(card, experts.store).state in CAN_RUN]
    key = key_of(tool, {**plain, "experts that can run": able})
    return key, service.find_restoration(key) if tool == "restore_to_4k" else None


def _plain(service: Service, value: Any) -> Any:
    """An argument as JSON, with the digest of a file's content in place of its name."""
    if isinstance(value, InputImage):
        return service.digest(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(service, getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(service, one) for one in value]
    return value


def _photo(service: Service, arguments: Mapping[str, Any]) -> str:
    """A short name of the input of a run, for lists."""
    image = arguments.get("image")
    if not isinstance(image, InputImage):
        return str(arguments.get("folder", ""))[-MOST_NAME:]
    if image.kind == "handle":
        return service.workspace.name(image.value)[:MOST_NAME]
    return Path(image.value).name[:MOST_NAME] if image.kind == "path" else f"({image.kind})"
