"""Folders that the client declares as its roots. Only used over stdio, where the client is the user's program."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mcp.server.mcpserver import Context, ListRoots, Resolve
from mcp.types import ListRootsResult

from server.grouped import parameters_of, with_parameters
from server.settings import is_whole_machine

T = TypeVar("T")
PARAMETER = "client_roots"

_current: ContextVar[tuple[Path, ...]] = ContextVar("client_roots", default=())


def current_roots() -> tuple[Path, ...]:
    """The roots of the calling client."""
    return _current.get()


async def ask(context: Context[Any, Any]) -> ListRootsResult | ListRoots:
    """Ask the client for its roots, if it declares that capability."""
    capabilities = context.client_capabilities
    return ListRoots() if capabilities and capabilities.roots else ListRootsResult(roots=[])


def knowing_roots(tool: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """The tool with one more parameter, which the SDK fills by asking the client and hides from the model."""

    @functools.wraps(tool)
    async def asking(*args: Any, **kwargs: Any) -> T:
        reset_token = _current.set(folders_of(kwargs.pop(PARAMETER)))
        try:
            return await tool(*args, **kwargs)
        finally:
            _current.reset(reset_token)

    kind = Annotated[ListRootsResult, Resolve(ask)]
    roots = inspect.Parameter(PARAMETER, inspect.Parameter.KEYWORD_ONLY, annotation=kind)
    return with_parameters(asking, [*parameters_of(tool), roots])


def folders_of(roots: ListRootsResult) -> tuple[Path, ...]:
    """The roots that are local folders and do not contain the user's home."""
    found = []
    for root in roots.roots:
        address = urlsplit(str(root.uri))
        folder = Path(url2pathname(address.path))
        if address.scheme == "file" and address.netloc in ("", "localhost") and folder.is_absolute():
            real = folder.resolve()
            if real.is_dir() and not is_whole_machine(real):
                found.append(real)
    return tuple(found)
