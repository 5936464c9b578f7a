"""How a tool comes onto the server: what goes wrong becomes text that the model can act on."""

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
"""Looks only; nothing that the user would notice is written."""
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
"""Adds files, and changes or removes none."""

ADVICE = {
    "`restore4k experts`": "list_experts",
    "`restore4k profiles`": "list_profiles",
    ", or ask for overwriting": "",
}
"""What a person is told to do, and a model instead: the tool that tells the same; no tool replaces a file."""
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
    """An error with advice that a caller of tools can follow."""
    for for_person, for_model in ADVICE.items():
        text = text.replace(for_person, for_model)
    return text


def require_known(tool: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Raise `ToolError` for arguments that the tool does not have: they would be ignored without a word.

    A tool without any takes all, because some clients cannot call it without.
    """
    known = schema.get("properties", {})
    if known and (unknown := [name[:40] for name in arguments if name not in known]):
        raise ToolError(
            f"Error executing tool {tool}: there is no argument {', '.join(map(repr, unknown[:MOST_FAULTS]))}; "
            f"it takes {', '.join(known)}"
        )


def in_words(tool: str, error: ValidationError) -> ToolError:
    """What is wrong with a call's arguments, in one line each."""
    faults = error.errors(include_input=False, include_url=False)
    lines = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:MOST_FAULTS]]
    return ToolError(f"Error executing tool {tool}: {'; '.join(lines)}")
