"""Register tools, and turn errors into messages that a model can act on."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, Tool, ToolAnnotations
from pydantic import ValidationError

from imaging.errors import RestoreError
from imaging.progress import ProgressToken
from server.grouped import grouped, parameters_of, with_parameters
from server.mcp.jobs import Status
from server.mcp.roots import knowing_roots

if TYPE_CHECKING:
    from server.mcp.service import Service

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
"""The tool writes nothing."""
REPEATABLE = ToolAnnotations(destructive_hint=True, idempotent_hint=True, open_world_hint=False)
"""The tool writes files, and the same call writes the same files again. It replaces none, but tool directories
distinguish only read-only and destructive tools.
"""

ADVICE = {
    "`restore4k experts`": "list_experts",
    "`restore4k profiles`": "list_profiles",
    ", or ask for overwriting": "",
}
"""Replacements in hints: commands for a person become tools for a model; no tool overwrites files."""
MOST_FAULTS = 5

EXPLAINED_ONCE = (
    "image", "profile", "strength", "region", "output", "findings", "description", "plan", "experts", "size",
    "wait_seconds", "detail", "strip_metadata",
)  # fmt: skip
"""Arguments with the same meaning in all tools; the schema of one tool and the server's instructions explain them."""
EXPLAINING = ("restore_to_4k", "look")

AsyncTool: TypeAlias = Callable[..., Awaitable[CallToolResult]]


@dataclass(frozen=True, slots=True)
class ServedTool:
    """A tool: a function of the service (`service`), the context of the call and its arguments."""

    name: str
    function: Callable[..., Any]
    title: str
    description: str
    annotations: ToolAnnotations
    meta: dict[str, Any] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the function that are not arguments of the tool."""

    def add_to(self, server: MCPServer[Any], service: Service) -> None:
        """Register the tool.

        A `RestoreError` in it reaches the caller as a tool error with message and hint; any other exception is logged
        by the SDK and reaches the caller without its text.
        """
        function = self.called(service)

        @functools.wraps(function)
        async def guarded(**arguments: Any) -> CallToolResult:
            try:
                return await function(**arguments)
            except RestoreError as error:
                raise ToolError(for_a_model(str(error))) from error

        guarded.__name__ = self.name
        server.add_tool(
            knowing_roots(guarded) if service.common.client_roots else guarded,
            name=self.name,
            description=self.description,
            annotations=self.annotations.model_copy(update={"title": self.title}),
            meta=self.meta,
            structured_output=False,
        )

    def called(self, service: Service) -> AsyncTool:
        """The function of a call."""
        return grouped(self.function, service=service, **self.given)


class JobTool(ServedTool):
    """A tool that measures: a job in a worker thread, whose function takes a token instead of the context."""

    def called(self, service: Service) -> AsyncTool:
        """A function that runs the job."""

        async def call(context: Context[Any, Any], **arguments: Any) -> CallToolResult:
            def work(token: ProgressToken, _: Status) -> CallToolResult:
                result: CallToolResult = grouped(self.function, service=service, token=token)(**arguments)
                return result

            return await service.jobs.run(context, self.name, work)

        return with_parameters(call, [CONTEXT, *parameters_of(grouped(self.function, service=service, token=None))])


CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=Context[Any, Any])
"""The parameter that the SDK fills with the context of a call."""


def tool(
    title: str,
    annotations: ToolAnnotations,
    meta: dict[str, Any] | None = None,
    kind: Callable[..., ServedTool] = ServedTool,
) -> Callable[[Callable[..., Any]], ServedTool]:
    """Make a tool of a function, under the function's name; its docstring is the description for models."""

    def registered(function: Callable[..., Any]) -> ServedTool:
        description = " ".join((function.__doc__ or "").split())
        return kind(function.__name__, function, title, description, annotations, meta)

    return registered


def slim(tool: Tool) -> Tool:
    """The tool as clients list it: its schema has only what a model needs to call it."""
    schema = tool.input_schema
    properties = {
        name: _slim_property(one, explained=name not in EXPLAINED_ONCE or tool.name in EXPLAINING)
        for name, one in schema.get("properties", {}).items()
    }
    short: dict[str, Any] = {"type": "object", "properties": properties}
    if required := schema.get("required"):
        short["required"] = required
    return tool.model_copy(update={"input_schema": short})


def is_reading(tool: Tool) -> bool:
    """Whether a tool only reads."""
    return bool(tool.annotations and tool.annotations.read_only_hint)


def with_open_world(tool: Tool) -> Tool:
    """The tool of a server that fetches images from the web."""
    annotations = (tool.annotations or ToolAnnotations()).model_copy(update={"open_world_hint": True})
    return tool.model_copy(update={"annotations": annotations})


def _slim_property(schema: Mapping[str, Any], *, explained: bool) -> dict[str, Any]:
    """A property without title, limits (errors name them) and defaults that mean "not given" or "no"."""
    for one in schema.get("anyOf", ()):
        if one.get("type") != "null":
            schema = {**one, **{name: value for name, value in schema.items() if name != "anyOf"}}
            break
    kept = {name: schema[name] for name in ("type", "enum", "description") if name in schema}
    if not explained:
        return {"type": kept["type"]}
    if schema.get("default") not in (None, "", False):
        kept["default"] = schema["default"]
    return kept


def for_a_model(text: str) -> str:
    """The error message with hints for a caller of tools."""
    for for_person, for_model in ADVICE.items():
        text = text.replace(for_person, for_model)
    return text


OTHER_NAMES = {
    "photo": "image", "path": "image", "file": "image", "handle": "image", "input": "image",
    "long_side": "size", "target": "size", "resolution": "size", "upscale": "scale",
    "format": "output", "filename": "output", "output_path": "output", "name": "output",
    "mask": "region", "area": "region", "amount": "strength", "run_id": "run", "id": "run",
    "steps": "plan", "order": "plan", "tasks": "plan", "handles": "candidates", "expert": "experts",
    "before": "first", "after": "second", "image1": "first", "image2": "second",
}  # fmt: skip
"""Other names that models use for arguments, and the names of the tools; see `with_known_names`."""


def with_known_names(tool: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments under the tool's names. Raises `ToolError` for unknown ones, which would be ignored silently.

    A tool without arguments accepts any, because some clients always send one. None means "not given".
    """
    known = schema.get("properties", {})
    named: dict[str, Any] = {name: value for name, value in arguments.items() if name in known and value is not None}
    unknown = []
    for name, value in arguments.items():
        other = OTHER_NAMES.get(name.lower(), name.lower())
        if name in known or value is None:
            continue
        if other in known and other not in named:
            named[other] = value
        elif name == "format" and "output" in named and not Path(str(named["output"])).suffix:
            suffix = str(value)[:20].lower().lstrip(".")
            named["output"] = f"{named['output']}.{'jpg' if suffix == 'jpeg' else suffix}"
        elif name == "scale" and "size" in known and "size" not in named:
            named["size"] = f"{str(value)[:20].rstrip('x')}x"
        else:
            unknown.append(name[:40])
    if known and unknown:
        raise ToolError(
            f"Error executing tool {tool}: there is no argument {', '.join(map(repr, unknown[:MOST_FAULTS]))}; "
            f"it takes {', '.join(known)}"
        )
    return named


def in_words(tool: str, error: ValidationError) -> ToolError:
    """The first faults of a call's arguments as one message."""
    faults = error.errors(include_input=False, include_url=False)
    lines = [
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in faults[:MOST_FAULTS]
    ]
    return ToolError(f"Error executing tool {tool}: {'; '.join(lines)}")
