"""Restore a photo with the step tools, as an outside agent: the bytes are those of `restore_to_4k`.

    python examples/step_by_step.py examples/images/coffee.jpg --size 1024

Every reply recommends the next call, as `restore_to_4k` would go on from there. This file takes each recommendation.
Decide otherwise in `choose`, and you have an agent of your own: the recommendations then follow your steps.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TypeAlias

import anyio
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, TextContent

Json: TypeAlias = dict[str, Any]


class StepByStep:
    """One restoration, over an open client."""

    def __init__(self, client: Client, photo: Path, wishes: Json) -> None:
        self._client = client
        self._photo = str(photo)
        self._wishes = wishes
        """Options that `restore_to_4k` takes too: size, profile, findings."""
        self.calls: list[str] = []
        """The tools that were called, in their order."""

    async def restore(self) -> Json:
        """Plan, take every step, finish; returns the answer of the last call."""
        return await self.follow(await self.plan())

    async def plan(self) -> Json:
        """The plan and the first call."""
        return await self._call("plan_restoration", {"image": self._photo, **self._wishes})

    async def follow(self, result: Json) -> Json:
        """Go on from a reply to the end."""
        while self.calls[-1] != "finish_restoration":
            result = await self._call(*self.choose(result))
        return result

    def choose(self, result: Json) -> tuple[str, Json]:
        """The next tool and its arguments."""
        tool, _, arguments = result["next"].partition(" ")
        return tool, json.loads(arguments)

    async def _call(self, tool: str, arguments: Json) -> Json:
        """The structured content of a tool that measures, the facts of one that makes a picture."""
        self.calls.append(tool)
        result = await self._client.call_tool(tool, arguments)
        while not result.is_error and facts_of(result).get("state", "").startswith(("running", "queued")):
            result = await self._client.call_tool("get_run", {"run": facts_of(result)["run"]})
        if result.is_error:
            sys.exit(f"{tool}: {result.content}")
        answer = result.structured_content or facts_of(result)
        print(answer.get("summary", f"{tool}: {len(answer.get('steps', []))} steps"))
        return answer


def facts_of(result: CallToolResult) -> Json:
    """The lines `name: value` of a reply, and its first line as the summary."""
    lines = next(block.text for block in result.content if isinstance(block, TextContent)).splitlines()
    return {"summary": lines[0], **dict(line.split(": ", 1) for line in lines if ": " in line)}


async def main(photo: Path, wishes: Json) -> None:
    """Start the server, restore the photo step by step; the last line printed says where the result is saved."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "server", "serve", str(photo.parent), "--tools", "all", "--output", "restored", "--runs", "runs"],
    )
    async with Client(server) as client:
        await StepByStep(client, photo, wishes).restore()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("photo", type=Path)
    parser.add_argument("--size", default="4K")
    parser.add_argument("--profile", default="default")
    given = parser.parse_args()
    anyio.run(main, given.photo.absolute(), {"size": given.size, "profile": given.profile})
