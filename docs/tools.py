"""The MCP tools, as the server lists them, and what their list and their replies cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio

from docs.markdown import table
from server.mcp.app import build_server
from server.settings import RESTORE, STEPS, ServerSettings

BYTES_PER_TOKEN = 4
REPLIES = Path(__file__).with_name("replies.json")
"""Costs of replies: bytes of text, structured content and pictures, tokens of pictures.

tests/server/mcp/test_reply_costs.py keeps it.
"""
FIRST = Path(__file__).with_name("first_tools.json")
"""Bytes of each tool in the list of the server's first version, commit 004711aec0."""
FIRST_REPLIES = Path(__file__).with_name("first_replies.json")
"""Costs of that version's replies to the calls of tests/server/mcp/test_reply_costs.py, in its own arguments."""
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
    settings = ServerSettings(allowed=(), output=nowhere, workspace=nowhere, runs=nowhere, tools="all")
    return list(anyio.run(build_server(settings).list_tools))


def costs() -> str:
    """Bytes and estimated tokens of each tool and each set, with those of the first version of the server."""
    found = {tool.name: _size(tool) for tool in _tools()}
    first: dict[str, int] = json.loads(FIRST.read_text("utf-8"))
    sets = {"--tools restore": RESTORE, "--tools steps": STEPS, "--tools all": tuple(found)}
    rows = []
    for name, tools in {**sets, **{name: (name,) for name in found}}.items():
        before = sum(first.values()) if name in sets else first.get(name)  # there were no sets
        now = _bytes_and_tokens(sum(map(found.__getitem__, tools)))
        rows.append((f"`{name}`", len(tools), *now, *(_bytes_and_tokens(before) if before else ("–", "–"))))
    return table(("tools/list", "tools", "bytes", "tokens", "bytes before", "tokens before"), rows)


def reply_costs() -> str:
    """Bytes and estimated tokens of a typical reply of each tool, with those of the first version of the server."""
    first = json.loads(FIRST_REPLIES.read_text("utf-8"))
    rows = (
        (f"`{name}`", *_parts(cost), *(_parts(first[name]) if name in first else ("–",) * 4))
        for name, cost in json.loads(REPLIES.read_text("utf-8")).items()
    )
    columns = ("text", "structure", "pictures", "tokens")
    return table(("reply of", *columns, *(f"{column} before" for column in columns)), rows)


def _parts(cost: Mapping[str, int]) -> tuple[str, ...]:
    tokens = round((cost["text"] + cost["structured"]) / BYTES_PER_TOKEN) + cost["picture_tokens"]
    return tuple(f"{size:,}" for size in (cost["text"], cost["structured"], cost["pictures"], tokens))


def _size(tool: Any) -> int:
    document = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())


def _bytes_and_tokens(size: int) -> tuple[str, str]:
    return f"{size:,}", f"{round(size / BYTES_PER_TOKEN):,}"


def _first_sentence(description: str) -> str:
    """The text up to a colon, unless that is within the first words."""
    sentence = description.partition(". ")[0].rstrip(".")
    colon = sentence.find(": ", LEAST_SUMMARY)
    return sentence if colon < 0 else sentence[:colon]


def _section(tool: Any) -> str:
    required = tool.input_schema.get("required", [])
    rows = [
        (
            f"`{name}`",
            _kind(schema),
            "required" if name in required else _default(schema),
            schema.get("description", "–"),
        )
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
