"""A client's light calls and restoration while another client and strangers flood the server.

    python -m benchmarks.flood

The flood, from a process of its own: connections without a token that begin large bodies or send nothing; one client
with a token that opens sessions and streams, sends bodies of 20 MB, reads an image of 12 megapixels and sends files
that decode slowly. The figures are of the other client, first alone and then during the flood.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
import json
import multiprocessing
import os
import secrets
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import PIL.Image

from benchmarks.load import client_of, first_image, resident_megabytes, restore, start_server
from benchmarks.report import reported
from server.mcp.workspace import handle_of

PADDING = b"x" * 20_000_000
LARGE = (4000, 3000)
PARTS = {"strangers": 40, "idle": 200, "sessions": 4, "streams": 64, "uploads": 4, "reads": 8, "slow files": 4}
"""Concurrent tasks of each part of the flood."""
LIGHT = ("list_profiles", "list_experts", "list_runs")
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "flood", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "flood", "version": "1"}}
LISTEN = {"notifications": {"resourcesListChanged": True}}
STARTING_SECONDS = 5


@reported("flood", "A client while others flood the server", preformatted=True)
def main() -> None:
    """Run it and print the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--long-side", type=int, default=4096, help="of the restoration; 0: none")
    options.add_argument("--calls", type=int, default=100, help="light calls, alone and during the flood")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="of the flood")
    options.add_argument("--niceness", type=int, default=10, help="of the flood, which shares the server's cores")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = anyio.run(measure, Path(folder), asked.long_side, asked.calls, asked.parts, asked.niceness)
        print(json.dumps(figures, indent=1))


async def measure(folder: Path, long_side: int, calls: int, parts: list[str], niceness: int) -> dict[str, Any]:
    """All figures."""
    tokens = {"victim": secrets.token_urlsafe(32), "flood": secrets.token_urlsafe(32)}
    process, url = start_server(folder, tokens)
    spawn = multiprocessing.get_context("spawn")
    stop, messages = spawn.Event(), spawn.Queue()
    flood = spawn.Process(target=run_flood, args=(url, tokens["flood"], parts, niceness, stop, messages))
    try:
        if long_side:
            await first_image(url, tokens["victim"], 0)  # so that the experts are loaded
        figures: dict[str, Any] = {"load_average_before": round(os.getloadavg()[0], 1), "niceness": os.nice(0)}
        figures["alone"] = await at_work(url, tokens["victim"], long_side, calls, 0)
        figures["alone"]["resident_mb"] = resident_megabytes(process.pid)
        flood.start()
        await anyio.to_thread.run_sync(messages.get)
        await anyio.sleep(STARTING_SECONDS)
        figures["flood"] = await at_work(url, tokens["victim"], long_side, calls, 1)
        figures["flood"]["resident_mb"] = resident_megabytes(process.pid)
        stop.set()
        figures["flood_got"] = await anyio.to_thread.run_sync(messages.get)
        if long_side:
            figures["restoration_ratio"] = round(figures["flood"]["run_seconds"] / figures["alone"]["run_seconds"], 2)
        return figures
    finally:
        stop.set()
        if flood.pid:
            flood.kill()
        process.terminate()
        process.wait()


async def at_work(url: str, token: str, long_side: int, calls: int, number: int) -> dict[str, Any]:
    """Restore the client's photo `number`, and make its light calls meanwhile."""
    run, seconds, failures = dict[str, Any](), list[float](), list[str]()
    async with anyio.create_task_group() as group:
        if long_side:
            group.start_soon(restore, url, token, long_side, anyio.Event(), run, number)
        async with client_of(url, token) as client:
            for tool in itertools.islice(itertools.cycle(LIGHT), calls):
                began = time.perf_counter()
                try:
                    result = await client.call_tool(tool, {})
                    failures += [str(result.content)[:200]] if result.is_error else []
                except Exception as error:  # any error is a failure of the server
                    failures.append(f"{tool}: {type(error).__name__}: {error}"[:200])
                seconds.append(time.perf_counter() - began)
                await anyio.sleep(0.05)
    return {
        "light_median_ms": round(1000 * statistics.median(seconds)),
        "light_90_percent_ms": round(1000 * statistics.quantiles(seconds, n=10)[-1]),
        "light_worst_ms": round(1000 * max(seconds)),
        "failures": failures,
        **({"run_seconds": round(run["seconds"], 1), "run_failed": run["failed"]} if run else {}),
    }


def run_flood(url: str, token: str, parts: list[str], niceness: int, stop: Any, messages: Any) -> None:
    """The process of the flood: reports its start, and at the end the answers that it got."""
    os.nice(niceness)
    asyncio.run(Flood(int(url.split(":")[2].split("/")[0]), token).run(parts, stop, messages))


@dataclass
class Flood:
    """One client and strangers at one server."""

    port: int
    token: str
    got: Counter[str] = field(default_factory=Counter)
    """Answers by part and status."""

    async def run(self, parts: list[str], stop: Any, messages: Any) -> None:
        """Flood until `stop`."""
        large = large_png()
        await self.call("finish_restoration", "png", large)  # keeps its input
        slow, uri = slow_jpeg(), f"image://{handle_of(large)}"
        acts: dict[str, Callable[[], Awaitable[Any]]] = {
            "strangers": lambda: self.request("ping", {"_meta": META}, known=False, is_large=True),
            "idle": self.idle,
            "sessions": lambda: self.request("initialize", HELLO),
            "streams": lambda: self.request(
                "subscriptions/listen", {"notifications": {"resourcesListChanged": True}}
            ),
            "uploads": lambda: self.request("tools/call", {"name": "list_profiles", "arguments": {}}, is_large=True),
            "reads": lambda: self.request("resources/read", {"uri": uri}),
            "slow files": lambda: self.call("reason_degradations", "jpeg", slow),
        }
        tasks = [asyncio.create_task(self.repeat(part, acts[part])) for part in parts for _ in range(PARTS[part])]
        messages.put("begun")
        await asyncio.to_thread(stop.wait)
        for task in tasks:
            task.cancel()
        messages.put(dict(sorted(self.got.items())))

    async def repeat(self, part: str, act: Callable[[], Awaitable[Any]]) -> None:
        """Call `act` again and again, and count the answers."""
        while True:
            try:
                answer = await act()
                self.got[f"{part}: {str(answer).split(' ', 2)[1] if answer else 'hung up'}"] += 1
            except OSError:
                self.got[f"{part}: disconnected"] += 1

    async def call(self, tool: str, kind: str, data: bytes) -> str:
        """Call a tool with an image."""
        image = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        return await self.request("tools/call", {"name": tool, "arguments": {"image": image}})

    async def request(
        self, method: str, params: dict[str, Any], *, known: bool = True, is_large: bool = False
    ) -> str:
        """Send a request, and read until the end of the answer."""
        if method != "initialize":
            params = {**params, "_meta": META}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        body = json.dumps(message).encode()
        if is_large:
            body = b'%s,"padding":"%s"}' % (body[:-1], PADDING)
        lines = [
            "POST /mcp HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Accept: application/json, text/event-stream",
            "Content-Type: application/json",
            "Connection: close",
            f"Content-Length: {len(body)}",
        ]
        lines += [f"Authorization: Bearer {self.token}"] if known else []
        if method != "initialize":
            lines += ["MCP-Protocol-Version: 2026-07-28", f"Mcp-Method: {method}"]
        if "name" in params or "uri" in params:
            lines += [f"Mcp-Name: {params.get('name') or params['uri']}"]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode())
            sending = asyncio.create_task(self.send(writer, body))
            answer = await reader.read()
            sending.cancel()
            return answer.decode("utf-8", "replace")
        finally:
            writer.close()

    async def send(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        """Send a body, until the server closes the connection."""
        with suppress(OSError):
            for start in range(0, len(body), 1 << 16):
                writer.write(body[start : start + (1 << 16)])
                await writer.drain()

    async def idle(self) -> str:
        """Begin a request and wait until the server hangs up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"POST /mcp HTTP/1.1\r\nX-Slow: ")
            return (await reader.read()).decode()
        finally:
            writer.close()
            await asyncio.sleep(1)


def large_png() -> bytes:
    """An image of 12 megapixels in few bytes."""
    colours = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(colours).resize(LARGE, PIL.Image.Resampling.NEAREST).save(stream, "PNG")
    return stream.getvalue()


def slow_jpeg() -> bytes:
    """A progressive JPEG whose last scan comes three thousand times."""
    stream = io.BytesIO()
    PIL.Image.new("L", (9999, 9999), 90).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 3000 + data[-2:]


if __name__ == "__main__":
    main()
