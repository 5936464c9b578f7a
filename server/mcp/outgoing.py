"""Makes outgoing text valid Unicode; a file name that is not valid would end the connection."""

from __future__ import annotations

from typing import Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext


async def with_valid_unicode(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """A middleware that escapes every byte that is not valid Unicode in the result or error of a request."""
    try:
        result: HandlerResult = valid(await call_next(ctx))
    except MCPError as error:
        raise MCPError(error.code, valid(error.message), valid(error.data)) from error
    return result


def valid(value: Any) -> Any:
    """A JSON value with valid Unicode."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: valid(one) for name, one in value.items()}
    return [valid(one) for one in value] if isinstance(value, list) else value
