"""Restore a photo through the MCP server, as any client would: over stdio, with progress.

python examples/mcp_client.py examples/images/coffee.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters
from mcp.types import TextContent


async def main(photo: Path) -> None:
    """Start the server, call `restore_to_4k`, print what it says."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "server", "serve", "--allow", str(photo.parent), "--output", "restored", "--runs", "runs"],
    )
    async with Client(server) as client:
        result = await client.call_tool(
            "restore_to_4k", {"image": str(photo), "wait_seconds": 3600}, progress_callback=_show_progress
        )
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    if result.is_error:
        sys.exit(f"refused: {texts}")
    print("\n".join(texts))


async def _show_progress(progress: float, total: float | None, message: str | None) -> None:
    print(f"{progress:5.1f} % {message or ''}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    anyio.run(main, Path(sys.argv[1]).absolute())
