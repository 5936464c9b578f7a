"""Start-up time of the command line and of the server, and the time to load libraries before the first network runs.

Seconds are CPU time of the new process (user and system), and wall-clock time.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

LIMITS = {"restore4k --help": 0.5, "server: first answer": 2.0}
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "benchmark", "version": "1"},
    },
}
IMPORTS = ("torch", "torchvision", "spandrel")


def start_up() -> None:
    """Print the table."""
    print("| | computed, s | wall, s | limit |\n|---|---|---|---|")
    _row("python -c pass", [sys.executable, "-c", "pass"])
    _row("restore4k --help", [sys.executable, "-m", "server", "--help"])
    _row("server: first answer", [sys.executable, "-m", "server", "serve"], json.dumps(HELLO) + "\n")
    for count in range(1, len(IMPORTS) + 1):
        code = "; ".join(f"import {name}" for name in IMPORTS[:count])
        _row(f"first restoration: {code}", [sys.executable, "-W", "ignore", "-c", code])


def _row(name: str, command: list[str], question: str = "") -> None:
    """The best of two runs, so that the second reads its files from memory."""
    figures = [_seconds(command, question) for _ in range(2)]
    computed, wall = (min(column) for column in zip(*figures, strict=True))
    print(f"| {name} | {computed:.2f} | {wall:.2f} | {LIMITS.get(name, '')} |", flush=True)


def _seconds(command: list[str], question: str) -> tuple[float, float]:
    """CPU seconds of the process, and wall-clock seconds until its end, or until it has answered `question`."""
    before, started = _children(), time.perf_counter()
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        if question and process.stdin and process.stdout:
            process.stdin.write(question)
            process.stdin.flush()
            if '"result"' not in (answer := process.stdout.readline()):
                raise SystemExit(f"the server answered {answer!r}")
            wall = time.perf_counter() - started
        process.communicate()
    return _children() - before, wall if question else time.perf_counter() - started


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
