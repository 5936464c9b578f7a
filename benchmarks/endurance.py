"""2,000 light calls of 20 clients over HTTP, each tenth of them cut: what the server holds before and after.

    python -m benchmarks.endurance

A real server process with 20 tokens. Every client calls in turn what reads and measures; after each ninth call it
begins one more on a connection of its own and leaves without waiting for the answer. Memory, descriptors, threads and
child processes of the server are counted after a first round, which loads everything, and at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio

from benchmarks.flood import META
from benchmarks.load import LIGHT, Tally, client_of, first_image, held_by, one_call, start_server
from benchmarks.report import reported

KINDS = (*LIGHT, "analyze_quality", "list_profiles", "read_own_image")
"""Nine calls of a client, which the cut one follows."""
REST_SECONDS = 10


@reported("endurance", "A server before and after 2,000 calls", preformatted=True)
def main() -> None:
    """Run it and print the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=20)
    options.add_argument("--calls", type=int, default=2000, help="of all clients together")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(anyio.run(measure, Path(folder), asked.clients, asked.calls), indent=1))


async def measure(folder: Path, count: int, calls: int) -> dict[str, Any]:
    """All figures."""
    tokens = [secrets.token_urlsafe(32) for _ in range(count)]
    process, url = start_server(folder, {f"client-{number}": token for number, token in enumerate(tokens)})
    try:
        handles = [await first_image(url, token, number) for number, token in enumerate(tokens)]
        rounds = max(1, calls // (count * (len(KINDS) + 1)))
        await burst(url, tokens, handles, 1, Tally())
        held = [await holdings(process.pid)]
        tally, began = Tally(), time.perf_counter()
        await burst(url, tokens, handles, rounds, tally)
        seconds = time.perf_counter() - began
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
            "after": held[1],
        }
    finally:
        process.terminate()
        process.wait()


async def burst(url: str, tokens: list[str], handles: list[str], rounds: int, tally: Tally) -> None:
    """So many rounds of ten calls of every client."""
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
                except Exception as error:  # whatever it is, it is a failure
                    tally.failures.append(f"{kind}: {type(error).__name__}: {error}"[:200])
                    continue
                tally.foreign += wrong
                tally.seconds[kind].append(time.perf_counter() - began)
        await anyio.to_thread.run_sync(cut_call, url, token, own)


def cut_call(url: str, token: str, handle: str) -> None:
    """Begin to measure an image, and leave."""
    address = urlsplit(url)
    params = {"name": "analyze_quality", "arguments": {"image": handle}, "_meta": META}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    head = [
        f"POST {address.path} HTTP/1.1", "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call",
        "Mcp-Name: analyze_quality", f"Host: {address.netloc}", f"Authorization: Bearer {token}",
        "Accept: application/json, text/event-stream", "Content-Type: application/json",
        f"Content-Length: {len(body)}", "", "",
    ]  # fmt: skip
    with socket.create_connection((address.hostname or "", address.port or 80)) as connection:
        connection.sendall("\r\n".join(head).encode() + body)


async def holdings(server: int) -> dict[str, int]:
    """What the server holds after a rest (Linux)."""
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
