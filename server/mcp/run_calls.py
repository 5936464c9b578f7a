"""Begin a run, or join an equal one, and reply with its result or its state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeAlias

import anyio.to_thread
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import BaseModel

from server.grouped import grouped, parameters_of, with_parameters
from server.mcp.inputs import InputImage, WaitArgument, mask_image
from server.mcp.runs import Reply, Run, RunUnderWay, key_of, new_id
from server.mcp.service import Service
from server.mcp.tool_registration import CONTEXT, AsyncTool, ServedTool
from toolbox.availability import CAN_RUN, availability

MOST_NAME = 80
DependsOn: TypeAlias = Callable[[Service, Mapping[str, Any]], Mapping[str, Any]]


def mask_of(service: Service, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The mask image that the region of a call names. Raises `RegionError`."""
    return {"mask": mask_image(arguments.get("region"))}


@dataclass(frozen=True, slots=True)
class RunTool(ServedTool):
    """A tool whose work is a run; its function takes the run instead of the context, and returns a `Reply`."""

    depends_on: DependsOn = mask_of
    """Returns the facts beside its arguments by which a call equals another one. Raises errors of arguments."""
    waits: bool = False
    """Whether callers choose how long they wait for the result (`wait_seconds`)."""

    def called(self, service: Service) -> AsyncTool:
        """A function that begins the run, or joins an equal one, and replies with its result or its state."""

        async def call(
            context: Context[Any, Any], wait_seconds: float | None = None, **arguments: Any
        ) -> CallToolResult:
            def work(run: Run) -> Reply:
                reply: Reply = grouped(self.function, service=service, run=run, **self.given)(**arguments)
                return reply

            photo, key, name = await anyio.to_thread.run_sync(self._identify, service, arguments)
            run, joined = await service.runs.begin(context, self.name, photo, key, work, name)
            return await service.runs.wait(context, run, wait_seconds) or RunUnderWay.of(run, joined)

        own = parameters_of(grouped(self.function, service=service, run=None, **self.given))
        return with_parameters(call, [CONTEXT, *own, *([WAIT] if self.waits else [])])

    def _identify(self, service: Service, arguments: Mapping[str, Any]) -> tuple[str, str, str]:
        """Photo, key and identifier of a call's run; the identifier of a restoration on disk, if that has the key.

        Raises `RequestError` and `ImageError`.
        """
        facts = {**arguments, **self.depends_on(service, arguments)}
        plain = {name: _plain(service, value) for name, value in facts.items()}
        experts = service.experts
        able = [card.name for card in experts.catalogue if availability(card, experts.store).state in CAN_RUN]
        key = key_of(self.name, {**plain, "experts that can run": able})
        known = service.find_restoration(key) if self.name == "restore_to_4k" else None
        return _photo(service, arguments), key, known or new_id(key)


WAIT = inspect.Parameter("wait_seconds", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=WaitArgument)


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
