"""Resources of a server before and after 2,000 light HTTP calls of 20 clients and restorations of killed clients.

    python -m benchmarks.endurance

A real server process with 20 tokens. Every client makes reading and measuring calls in turn; after every ninth call
it begins one more on a separate connection and leaves without waiting for the answer. Then each starts, three times,
a process that begins a restoration and is killed at its first notification of progress; the run goes on to its end.
Memory, descriptors, threads and child processes of the server are counted after a first round of both, which loads
everything, after the calls, and at the end.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import numpy as np
import PIL.Image

from benchmarks.flood import META
from benchmarks.load import LIGHT, Tally, client_of, first_image, held_by, one_call, start_server
from benchmarks.report import reported

KINDS = (*LIGHT, "analyze_quality", "list_profiles", "read_own_image")
"""The nine calls of a client in a round, before the one that it does not wait for."""
REST_SECONDS = 10
DOOMED = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(sys.stdin.buffer.read())
while (data := connection.recv(65536)) and b"notifications/progress" not in data: pass
print("begun" if data else "refused", flush=True)
while connection.recv(65536): pass
"""
"""The process of a client that is killed: sends a request, prints when it hears of progress, and keeps listening."""


@reported("endurance", "A server before and after 2,000 calls", preformatted=True)
def main() -> None:
    """Run it and print the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=20)
    options.add_argument("--calls", type=int, default=2000, help="of all clients together")
    options.add_argument("--kills", type=int, default=3, help="of each client")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(anyio.run(measure, Path(folder), asked.clients, asked.calls, asked.kills), indent=1))


async def measure(folder: Path, count: int, calls: int, kills: int) -> dict[str, Any]:
    """All figures."""
    tokens = [secrets.token_urlsafe(32) for _ in range(count)]
    process, url = start_server(folder, {f"client-{number}": token for number, token in enumerate(tokens)})
    try:
        handles = [await first_image(url, token, number) for number, token in enumerate(tokens)]
        rounds = max(1, calls // (count * (len(KINDS) + 1)))
        await burst(url, tokens, handles, 1, Tally())
        await killed(url, tokens, 0)
        held = [await holdings(process.pid)]
        tally, began = Tally(), time.perf_counter()
        await burst(url, tokens, handles, rounds, tally)
        seconds = time.perf_counter() - began
        held.append(await holdings(process.pid))
        runs = Counter[str]()
        for number in range(kills):
            runs += await killed(url, tokens, number + 1)
        held.append(await holdings(process.pid))
        answered = [one for each in tally.seconds.values() for one in each]
        return {
            "clients": count,
            "answered": len(answered),
            "cut": rounds * count,
            "failures": tally.failures,
            "cross_talk": tally.foreign,
            "seconds": round(seconds, 1),
            "median_ms": round(1000 * statistics.median(answered)),
            "worst_ms": round(1000 * max(answered)),
            "load_average": round(os.getloadavg()[0], 1),
            "before": held[0],
            "after_calls": held[1],
            "killed": kills * count,
            "their_runs": dict(runs),
            "after_kills": held[2],
        }
    finally:
        process.terminate()
        process.wait()


async def burst(url: str, tokens: list[str], handles: list[str], rounds: int, tally: Tally) -> None:
    """`rounds` rounds of ten calls of every client."""
    async with anyio.create_task_group() as group:
        for number, (token, own) in enumerate(zip(tokens, handles, strict=True)):
            group.start_soon(one_client, url, token, own, handles[(number + 1) % len(handles)], rounds, tally)


async def one_client(url: str, token: str, own: str, foreign: str, rounds: int, tally: Tally) -> None:
    """The calls of one client, each round on a new connection."""
    for _ in range(rounds):
        async with client_of(url, token) as client:
            for kind in KINDS:
                began = time.perf_counter()
                try:
                    wrong = await one_call(client, kind, own, foreign)
                except Exception as error:  # any error is a failure
                    tally.failures.append(f"{kind}: {type(error).__name__}: {error}"[:200])
                    continue
                tally.foreign += wrong
                tally.seconds[kind].append(time.perf_counter() - began)
        await anyio.to_thread.run_sync(cut_call, url, token, own)


def cut_call(url: str, token: str, handle: str) -> None:
    """Begin to measure an image, and disconnect."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 80)) as connection:
        connection.sendall(request(url, token, "analyze_quality", {"image": handle}))


def request(url: str, token: str, tool: str, arguments: dict[str, Any]) -> bytes:
    """A call of a tool as bytes."""
    address = urlsplit(url)
    params = {"name": tool, "arguments": arguments, "_meta": {**META, "progressToken": 1}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    head = [
        f"POST {address.path} HTTP/1.1", "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call",
        f"Mcp-Name: {tool}", f"Host: {address.netloc}", f"Authorization: Bearer {token}",
        "Accept: application/json, text/event-stream", "Content-Type: application/json",
        f"Content-Length: {len(body)}", "", "",
    ]  # fmt: skip
    return "\r\n".join(head).encode() + body


async def killed(url: str, tokens: list[str], number: int) -> Counter[str]:
    """Let a process of each client begin to restore a photo, and kill it. Returns how the runs end."""
    noise = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(noise).save(stream, "PNG")
    photo = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    arguments = {"image": photo, "size": 128, "plan": "super_resolution", "experts": "lanczos_2x"}
    address = urlsplit(url)

    def begin_and_kill(token: str) -> None:
        command = [sys.executable, "-c", DOOMED, address.hostname or "", str(address.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdin  # noqa: S101  # for the type checker
            assert client.stdout  # noqa: S101  # for the type checker
            client.stdin.write(request(url, token, "restore_to_4k", arguments))
            client.stdin.close()
            client.stdout.readline()
            client.kill()

    async with anyio.create_task_group() as group:
        for token in tokens:
            group.start_soon(anyio.to_thread.run_sync, begin_and_kill, token)
    return sum([await ended(url, token) for token in tokens], Counter[str]())


async def ended(url: str, token: str) -> Counter[str]:
    """The state of a client's latest run, once it has ended."""
    async with client_of(url, token) as client:
        while True:
            listed = (await client.call_tool("list_runs", {})).structured_content or {}
            state = next(run["state"] for run in listed["runs"] if run["tool"] == "restore_to_4k")
            if state not in ("queued", "running"):
                return Counter([state])
            await anyio.sleep(0.5)


async def holdings(server: int) -> dict[str, int]:
    """The resources of the server after a pause (Linux)."""
    await anyio.sleep(REST_SECONDS)
    megabytes, descriptors = held_by(server)
    threads = list(Path(f"/proc/{server}/task").iterdir())
    children = [child for thread in threads for child in (thread / "children").read_text("ascii").split()]
    return {
        "resident_mb": megabytes,
        "descriptors": descriptors,
        "threads": len(threads),
        "children": len(children),
    }


if __name__ == "__main__":
    main()
