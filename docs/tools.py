"""The MCP tools, as the server lists them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio

from docs.markdown import table
from server.mcp.app import build_server
from server.settings import ServerSettings

LEAST_SUMMARY = 25
"""Characters that the summary of a tool has at least."""


def overview() -> str:
    """One line for each tool."""
    rows = ((f"`{tool.name}`", _first_sentence(tool.description)) for tool in _tools())
    return table(("tool", "what it does"), rows)


def reference() -> str:
    """Description and arguments of each tool."""
    return "\n".join(_section(tool) for tool in _tools())


def _tools() -> list[Any]:
    nowhere = Path("/nonexistent")
    settings = ServerSettings(allowed=(), output=nowhere, workspace=nowhere, runs=nowhere)
    return list(anyio.run(build_server(settings).list_tools))


def _first_sentence(description: str) -> str:
    """As far as a colon, if that is not within the first words."""
    sentence = description.partition(". ")[0].rstrip(".")
    colon = sentence.find(": ", LEAST_SUMMARY)
    return sentence if colon < 0 else sentence[:colon]


def _section(tool: Any) -> str:
    required = tool.input_schema.get("required", [])
    rows = [
        (f"`{name}`", _kind(schema), "required" if name in required else _default(schema), schema.get("description"))
        for name, schema in tool.input_schema.get("properties", {}).items()
    ]
    arguments = table(("argument", "type", "default", "meaning"), rows) if rows else "No arguments.\n"
    return f"### {tool.name}\n\n{tool.description}\n\n{arguments}"


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    return "–" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(schema: Mapping[str, Any]) -> str:
    """The type in a word or two."""
    if "anyOf" in schema:
        return " or ".join(kind for one in schema["anyOf"] if (kind := _kind(one)) != "null")
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return str(schema.get("type", "any"))
