"""Completions of names of profiles, experts, images and runs."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from mcp.server import MCPServer
from mcp.types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference

from profiles.loading import predefined_profiles
from server.mcp.resources import EXPERT, PROFILE, run_ids
from server.mcp.service import Service

MOST_VALUES = 100
"""Limit of the protocol."""
MOST_HANDLES = 20


def add_completions(server: MCPServer[Any], service: Service) -> None:
    """Add completion of the arguments of resource templates and prompts."""

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        kind = argument.name
        if isinstance(ref, ResourceTemplateReference) and kind == "name":
            kind = {EXPERT: "expert", PROFILE: "profile"}.get(ref.uri, "")
        names = await anyio.to_thread.run_sync(_names, service, kind, argument.value)
        # The values that start with the typed text, then those that contain it.
        typed = argument.value.lower()
        found = [name for name in names if typed in name.lower()]
        found.sort(key=lambda name: not name.lower().startswith(typed))
        return Completion(values=found[:MOST_VALUES], total=len(found), has_more=len(found) > MOST_VALUES)


def _names(service: Service, kind: str, typed: str) -> list[str]:
    match kind:
        case "profile":
            return list(predefined_profiles())
        case "expert":
            return [card.name for card in service.experts.catalogue]
        case "handle":
            return service.workspace.handles()
        case "run":
            return run_ids(service.settings.runs)
        case "folder":
            return service.files(folders=True, absolute=typed.startswith("/"))
        case "photo" | "first" | "second":
            files = service.files(absolute=typed.startswith("/"))
            return [*files, *service.workspace.handles()[:MOST_HANDLES]]
        case _:
            return []
