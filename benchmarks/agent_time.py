"""Where the time of a whole restoration goes: a 256x256 photo to 4096x4096, in a process of its own.

python -m benchmarks.agent_time
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "images" / "coffee.jpg"
OVERHEAD = ("perception", "planning", "scoring", "trace", "agent")
"""The parts that are neither experts nor reading and writing the picture."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, default=EXAMPLE)
    parser.add_argument("--profile", default="default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "server", "restore", str(arguments.image), "--json", "--quiet"]
        command += ["--profile", arguments.profile, "--output", f"{folder}/result.png", "--runs", f"{folder}/runs"]
        started = time.perf_counter()
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        total = time.perf_counter() - started
    summary = json.loads(answer.stdout)
    parts: dict[str, float] = summary["seconds"]
    start_up = total - sum(parts.values())
    print(f"{arguments.image.name} -> {summary['width']}x{summary['height']}, profile {arguments.profile}")
    print(f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"steps: {', '.join(step['step'] + ' by ' + step['expert'] for step in summary['steps'])}")
    for name, seconds in sorted({**parts, "start-up": start_up}.items(), key=lambda part: -part[1]):
        print(f"{name:12}{seconds:8.2f} s {seconds / total:7.1%}")
    overhead = sum(parts.get(name, 0.0) for name in OVERHEAD)
    print(f"{'total':12}{total:8.2f} s")
    print(f"scoring and agent overhead ({', '.join(OVERHEAD)}): {overhead / total:.1%} of the total")


if __name__ == "__main__":
    main()
