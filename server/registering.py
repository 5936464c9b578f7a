"""How a tool comes onto the server: errors of ours become text that the model can act on."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ToolAnnotations

from imaging.errors import RestoreError

READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
"""Looks only; nothing that the user would notice is written."""
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
"""Adds files, and changes or removes none."""

ToolFunction = Callable[..., Awaitable[CallToolResult]]


def add_tool(
    server: MCPServer[Any],
    function: ToolFunction,
    *,
    title: str,
    description: str,
    annotations: ToolAnnotations,
    meta: dict[str, Any] | None = None,
) -> None:
    """Register a tool under the function's name.

    A `RestoreError` in it reaches the caller as a tool error with message and hint; any other exception is logged
    here and reaches the caller without its text.
    """

    @functools.wraps(function)
    async def guarded(*args: Any, **kwargs: Any) -> CallToolResult:
        try:
            return await function(*args, **kwargs)
        except RestoreError as error:
            raise ToolError(str(error)) from error

    server.add_tool(
        guarded,
        name=function.__name__,
        title=title,
        description=description,
        annotations=annotations.model_copy(update={"title": title}),
        meta=meta,
    )
