"""Seconds from a signal, or from the end of its input, to the end of a server on stdio: idle, decoding, restoring.

python -m benchmarks.signals
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.agent_time import EXAMPLE
from benchmarks.flood import HELLO, slow_jpeg
from benchmarks.report import reported

SECONDS_OF_WORK = 3.0
"""Time that the server has for its work before it is ended."""
ENDS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP, "end of input": None}


@reported("signals", "Time until a server on stdio ends", preformatted=True)
def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--image", type=Path, default=EXAMPLE)
    asked = options.parse_args()
    jpeg = base64.b64encode(slow_jpeg()).decode()
    works: dict[str, dict[str, Any] | None] = {
        "idle": None,
        "decoding": {"name": "analyze_quality", "arguments": {"image": f"data:image/jpeg;base64,{jpeg}"}},
        "restoring": {"name": "restore_to_4k", "arguments": {"image": str(asked.image.absolute())}},
    }
    print(f"load average {os.getloadavg()[0]:.1f}")
    for kind, work in works.items():
        for end, number in ENDS.items():
            seconds, code = ended(asked.image, work, number)
            print(f"{kind:10} {end:13} {seconds:5.2f} s, exit code {code}", flush=True)


def ended(image: Path, work: dict[str, Any] | None, number: signal.Signals | None) -> tuple[float, int]:
    """Seconds to the end of a server with that work, and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "server", "serve", "--allow", str(image.absolute().parent), "--tools", "all"]
        command += ["--output", f"{folder}/out", "--runs", f"{folder}/runs"]
        with subprocess.Popen(
            command,
            env={**os.environ, "XDG_STATE_HOME": folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as server:
            if server.stdin is None or server.stdout is None:
                raise SystemExit("no pipes")
            messages: list[dict[str, Any]] = [
                {"id": 1, "method": "initialize", "params": HELLO},
                {"method": "notifications/initialized"},
            ]
            messages += [{"id": 2, "method": "tools/call", "params": work}] if work else []
            for message in messages:
                server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
                server.stdin.flush()
            server.stdout.readline()
            time.sleep(SECONDS_OF_WORK)
            began = time.perf_counter()
            if number is None:
                server.stdin.close()
            else:
                server.send_signal(number)
            code = server.wait()
            return time.perf_counter() - began, code


if __name__ == "__main__":
    main()
