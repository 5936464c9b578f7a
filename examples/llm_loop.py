"""A language model in charge: any OpenAI-compatible chat endpoint restores a photo by the server's tools.

    export RESTORE4K_LLM_URL=http://localhost:11434/v1 RESTORE4K_LLM_MODEL=qwen2.5vl
    python examples/llm_loop.py examples/images/coffee.jpg

The model gets every tool of the server and the prompt `plan_it_yourself`; its calls are carried out, and their
answers and pictures go back to it, until it has nothing more to call. RESTORE4K_LLM_KEY is sent where it is set.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, ImageContent, TextContent, Tool

MOST_TURNS = 40
SECONDS_A_TURN = 300.0
Json: TypeAlias = dict[str, Any]


class Endpoint:
    """A chat endpoint with one model."""

    def __init__(self, url: str, model: str, key: str = "") -> None:
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model = model
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    async def say(self, messages: list[Json], tools: list[Json]) -> Json:
        """The model's next message."""
        body = {"model": self._model, "messages": messages, "tools": tools}
        async with httpx2.AsyncClient(timeout=SECONDS_A_TURN) as http:
            answer = await http.post(self._url, json=body, headers=self._headers)
        answer.raise_for_status()
        message: Json = answer.json()["choices"][0]["message"]
        return message


async def converse(client: Client, endpoint: Endpoint, photo: Path) -> str:
    """Let the model work until it calls no tool any more; its last words."""
    tools = [as_function(tool) for tool in (await client.list_tools()).tools]
    prompt = await client.get_prompt("plan_it_yourself", {"photo": str(photo)})
    texts = [message.content.text for message in prompt.messages if isinstance(message.content, TextContent)]
    messages: list[Json] = [{"role": "user", "content": "\n".join(texts)}]
    for _ in range(MOST_TURNS):
        reply = await endpoint.say(messages, tools)
        messages.append(reply)
        calls = reply.get("tool_calls") or []
        if not calls:
            return reply.get("content") or ""
        pictures: list[Json] = []
        for call in calls:
            result = await carry_out(client, call["function"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": text_of(result)})
            pictures += pictures_of(result)
        if pictures:  # The role "tool" may hold text alone.
            messages.append({"role": "user", "content": pictures})
    return f"stopped after {MOST_TURNS} turns"


async def carry_out(client: Client, function: Json) -> CallToolResult:
    """The answer of the server; arguments that are no JSON are an answer too, so that the model can mend them."""
    print(f"{function['name']} {function['arguments']}")
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except json.JSONDecodeError as error:
        message = TextContent(type="text", text=f"the arguments are no JSON: {error}")
        return CallToolResult(content=[message], is_error=True)
    return await client.call_tool(function["name"], arguments)


def as_function(tool: Tool) -> Json:
    """A tool of MCP as one of the chat endpoint."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": function}


def text_of(result: CallToolResult) -> str:
    """The text for the model."""
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def pictures_of(result: CallToolResult) -> list[Json]:
    """The pictures for the model."""
    return [
        {"type": "image_url", "image_url": {"url": f"data:{block.mime_type};base64,{block.data}"}}
        for block in result.content
        if isinstance(block, ImageContent)
    ]


async def main(photo: Path) -> None:
    """Start the server, let the model restore the photo, print its last words."""
    try:
        url, model = os.environ["RESTORE4K_LLM_URL"], os.environ["RESTORE4K_LLM_MODEL"]
    except KeyError as missing:
        sys.exit(f"set {missing.args[0]}: docs/reasoners.md shows how")
    endpoint = Endpoint(url, model, os.environ.get("RESTORE4K_LLM_KEY", ""))
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "server", "serve", str(photo.parent), "--output", "restored", "--runs", "runs"],
    )
    async with Client(server) as client:
        print(await converse(client, endpoint, photo))


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]).absolute())
