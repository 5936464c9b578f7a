"""200 mixed calls of 20 clients over HTTP while one of them has a photo restored to 4K.

    python -m benchmarks.load

A real server process with 20 tokens; every client has its own photo. Counts failures and replies that contain another
client's image, and measures latencies, and the memory and descriptors of the server before and after the burst.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import numpy as np
import PIL.Image
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent
from skimage import data

from benchmarks.report import reported

LIGHT = ("list_profiles", "list_experts", "list_tools", "list_resources", "read_own_image", "read_foreign_image")
LOOKS = ("analyze_quality", "foreign_analyze")
MIX = (*LIGHT, *LOOKS, "list_profiles", "read_own_image")
"""Ten calls of every client."""
STARTUP_SECONDS = 120


@dataclass
class Tally:
    """Counts so far."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    foreign: int = 0
    """Replies with another client's image."""


@reported("load", "Many MCP clients over HTTP", preformatted=True)
def main() -> None:
    """Run it and print the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=20)
    options.add_argument("--pause", type=float, default=0.0, help="seconds between a client's calls, at most")
    options.add_argument("--long-side", type=int, default=4096, help="of the restoration in the background")
    options.add_argument("--bursts", type=int, default=4, help="number of bursts; the first during the restoration")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = anyio.run(measure, Path(folder), asked.clients, asked.long_side, asked.pause, asked.bursts)
        print(json.dumps(figures, indent=1))


async def measure(folder: Path, count: int, long_side: int, pause: float, bursts: int) -> dict[str, Any]:
    """All figures: a burst during a restoration, then the others, and the resources of the server after each."""
    tokens = {f"client-{number}": secrets.token_urlsafe(32) for number in range(count)}
    process, url = start_server(folder, tokens)
    try:
        handles = [await first_image(url, token, number) for number, token in enumerate(tokens.values())]
        held = {"before": held_by(process.pid)}
        tallies, run = [Tally() for _ in range(bursts)], dict[str, Any]()
        async with anyio.create_task_group() as group:
            started = anyio.Event()
            group.start_soon(restore, url, next(iter(tokens.values())), long_side, started, run)
            await started.wait()
            burst_seconds = await burst(url, list(tokens.values()), handles, tallies[0], pause)
            still_running = "seconds" not in run
            held["after_burst_1"] = held_by(process.pid)
        held["after_run"] = held_by(process.pid)
        for number, later in enumerate(tallies[1:], start=2):
            await burst(url, list(tokens.values()), handles, later, pause)
            held[f"after_burst_{number}"] = held_by(process.pid)
        first = tallies[0]
        return {
            "calls": count * len(MIX),
            "answered": [sum(map(len, tally.seconds.values())) for tally in tallies],
            "clients": count,
            "pause_seconds": pause,
            "load_average": os.getloadavg()[0],
            "failures": [failure for tally in tallies for failure in tally.failures],
            "cross_talk": sum(tally.foreign for tally in tallies),
            "run_still_going_after_burst": still_running,
            "burst_seconds": round(burst_seconds, 1),
            "run_seconds": round(run["seconds"], 1),
            "run_failed": run["failed"],
            "light_median_ms": median_ms(first, LIGHT),
            "light_worst_ms": round(1000 * max(max(first.seconds[name]) for name in LIGHT)),
            "look_median_ms": median_ms(first, LOOKS),
            "median_ms": {name: median_ms(first, (name,)) for name in sorted(first.seconds)},
            "resident_mb": {when: megabytes for when, (megabytes, _) in held.items()},
            "descriptors": {when: descriptors for when, (_, descriptors) in held.items()},
        }
    finally:
        process.terminate()
        process.wait()


async def burst(url: str, tokens: list[str], handles: list[str], tally: Tally, pause: float) -> float:
    """Ten calls of every client at once; the seconds that it takes."""
    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for number, (token, own) in enumerate(zip(tokens, handles, strict=True)):
            foreign = handles[(number + 1) % len(handles)]
            group.start_soon(ten_calls, url, token, number, own, foreign, tally, pause)
    return time.perf_counter() - began


def start_server(folder: Path, tokens: dict[str, str]) -> tuple[subprocess.Popen[bytes], str]:
    """A server process that knows these tokens, and its URL."""
    file = folder / "clients.toml"
    file.write_text("".join(f'[{name}]\ntoken = "{token}"\n' for name, token in tokens.items()), "utf-8")
    file.chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "server",
        "serve",
        "--tools",
        "all",
        "--transport",
        "streamable-http",
        "--port",
        str(port),
    ]
    command += ["--wait-seconds", "600", "--clients", str(file)]
    command += ["--output", str(folder / "out"), "--runs", str(folder / "runs")]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}/mcp"
        time.sleep(0.1)
    process.kill()
    raise SystemExit("the server does not start")


def photo(number: int) -> str:
    """A noisy photo of 96x80 pixels in base64; each number has its own."""
    noise = np.random.default_rng(number).normal(0, 20, (80, 96, 3))
    pixels = np.clip(np.asarray(data.astronaut())[:80, 180:276] + noise, 0, 255).astype(np.uint8)
    with tempfile.TemporaryFile() as stream:
        PIL.Image.fromarray(pixels).save(stream, "PNG")
        stream.seek(0)
        return f"data:image/png;base64,{base64.b64encode(stream.read()).decode()}"


@asynccontextmanager
async def client_of(url: str, token: str) -> AsyncIterator[Client]:
    """A client with a token."""
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=600) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def first_image(url: str, token: str, number: int) -> str:
    """The handle of the client's own photo."""
    async with client_of(url, token) as client:
        result = await client.call_tool("denoise", {"image": photo(number), "expert": "tv_denoise"})
        texts = [block.text for block in result.content if isinstance(block, TextContent)]
        if found := re.search(r"undo: (img_\w+)", texts[0]):
            return found[1]
    raise SystemExit(f"the server gave no handle: {texts[0]}")


async def restore(
    url: str, token: str, long_side: int, started: anyio.Event, run: dict[str, Any], number: int = 0
) -> None:
    """A restoration of the photo of that number; `started` is set when its plan is made."""

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        if (message or "").startswith("plan"):
            started.set()

    began = time.perf_counter()
    async with client_of(url, token) as client:
        arguments = {"image": photo(number), "size": long_side, "wait_seconds": 3600}
        result = await client.call_tool("restore_to_4k", arguments, progress_callback=on_progress)
    run.update(seconds=time.perf_counter() - began, failed=bool(result.is_error))
    started.set()


async def ten_calls(url: str, token: str, number: int, own: str, foreign: str, tally: Tally, pause: float) -> None:
    """One client's part of the burst; each client begins at another position of the mix."""
    chance = random.Random(number)
    async with client_of(url, token) as client:
        for kind in MIX[number % len(MIX) :] + MIX[: number % len(MIX)]:
            await anyio.sleep(chance.uniform(0, pause))
            began = time.perf_counter()
            try:
                wrong = await one_call(client, kind, own, foreign)
            except Exception as error:  # any error is a failure of the burst
                tally.failures.append(f"{kind}: {type(error).__name__}: {error}"[:200])
                continue
            tally.seconds[kind].append(time.perf_counter() - began)
            tally.foreign += wrong


async def one_call(client: Client, kind: str, own: str, foreign: str) -> bool:
    """Whether the reply contains another client's data. Raises if a call that should succeed fails."""
    match kind:
        case "list_tools":
            await client.list_tools()
        case "list_resources":
            listed = await client.list_resources()
            return any(foreign in str(resource.uri) for resource in listed.resources)
        case "read_own_image":
            await client.read_resource(f"image://{own}")
        case "read_foreign_image":
            try:
                await client.read_resource(f"image://{foreign}")
            except Exception as error:
                return "no image" not in str(error)
            return True
        case "foreign_analyze":
            result = await client.call_tool("analyze_quality", {"image": foreign})
            return not result.is_error
        case "analyze_quality":
            result = await client.call_tool(kind, {"image": own})
            return bool(result.is_error) or (result.structured_content or {})["image"]["handle"] != own
        case _:
            result = await client.call_tool(kind, {})
            if result.is_error:
                raise RuntimeError(str(result.content))
    return False


def median_ms(tally: Tally, kinds: tuple[str, ...]) -> int:
    """Median latency of the calls of these kinds in milliseconds."""
    return round(1000 * statistics.median(seconds for kind in kinds for seconds in tally.seconds[kind]))


def held_by(process: int) -> tuple[int, int]:
    """Resident megabytes and open descriptors of a process (Linux)."""
    return resident_megabytes(process), len(os.listdir(f"/proc/{process}/fd"))


def resident_megabytes(process: int) -> int:
    """Resident memory of a process (Linux)."""
    status = Path(f"/proc/{process}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


if __name__ == "__main__":
    main()
