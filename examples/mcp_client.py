"""Restore a photo through the MCP server, as any client would: over stdio, with progress.

python examples/mcp_client.py examples/images/coffee.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters


async def main(photo: Path) -> None:
    """Start the server, call `restore_to_4k`, print what it says."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "server", "serve", "--allow", str(photo.parent), "--output", "restored", "--runs", "runs"],
    )
    async with Client(server) as client:
        result = await client.call_tool(
            "restore_to_4k", {"image": {"path": str(photo)}}, progress_callback=_show_progress
        )
    if result.is_error:
        sys.exit(f"refused: {result.content}")
    answer = result.structured_content or {}
    print(answer["summary"])
    for step in answer["steps"]:
        print(f"  {step['step']}: {step['expert']} ({step['score']:.3f})")


async def _show_progress(progress: float, total: float | None, message: str | None) -> None:
    print(f"{progress:5.1f} % {message or ''}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    anyio.run(main, Path(sys.argv[1]).absolute())
