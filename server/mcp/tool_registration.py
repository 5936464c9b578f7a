"""Register tools, and turn errors into messages that a model can act on."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import ValidationError

from imaging.errors import RestoreError

READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
"""The tool reads; it writes nothing that the user would notice."""
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
"""The tool adds files; it changes and removes none."""

ADVICE = {
    "`restore4k experts`": "list_experts",
    "`restore4k profiles`": "list_profiles",
    ", or ask for overwriting": "",
}
"""Replacements in hints, from the command of a person to the tool of a model; no tool overwrites files."""
MOST_FAULTS = 5

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
            raise ToolError(for_a_model(str(error))) from error

    server.add_tool(
        guarded,
        name=function.__name__,
        title=title,
        description=description,
        annotations=annotations.model_copy(update={"title": title}),
        meta=meta,
    )


def for_a_model(text: str) -> str:
    """The error message with hints for a caller of tools."""
    for for_person, for_model in ADVICE.items():
        text = text.replace(for_person, for_model)
    return text


def require_known(tool: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Raise `ToolError` for unknown arguments, which would be ignored silently.

    A tool without arguments accepts any, because some clients always send one.
    """
    known = schema.get("properties", {})
    if known and (unknown := [name[:40] for name in arguments if name not in known]):
        raise ToolError(
            f"Error executing tool {tool}: there is no argument {', '.join(map(repr, unknown[:MOST_FAULTS]))}; "
            f"it takes {', '.join(known)}"
        )


def in_words(tool: str, error: ValidationError) -> ToolError:
    """The first faults of a call's arguments as one message."""
    faults = error.errors(include_input=False, include_url=False)
    lines = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:MOST_FAULTS]]
    return ToolError(f"Error executing tool {tool}: {'; '.join(lines)}")
