"""Where the time of a whole restoration goes: a 256x256 photo to 4096x4096.

    python -m benchmarks.agent_time

Once as a command, in a process of its own; and once as the second call of a process that goes on, as a server does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from agent.run import restore_file
from benchmarks.report import reported
from profiles.loading import load_profile
from toolbox.pool import ExpertPool

EXAMPLE = Path(__file__).parent.parent / "examples" / "images" / "coffee.jpg"


@reported("agent_time", "Time of a restoration from 256x256 to 4096x4096 by part", preformatted=True)
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=EXAMPLE)
    parser.add_argument("--profile", default="default")
    arguments = parser.parse_args()
    print(f"{arguments.image.name}, profile {arguments.profile}")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "server", "restore", str(arguments.image), "--json", "--quiet"]
        command += ["--profile", arguments.profile, "--output", f"{folder}/result.png", "--runs", f"{folder}/runs"]
        started = time.perf_counter()
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        total = time.perf_counter() - started
    summary = json.loads(answer.stdout)
    print(f"to {summary['width']}x{summary['height']}:", end=" ")
    print(", ".join(step["step"] + " by " + step["expert"] for step in summary["steps"]))
    parts: dict[str, float] = summary["seconds"]
    print("\na command")
    show({**parts, "start-up": total - sum(parts.values())})
    pool = ExpertPool()
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            output, runs = Path(folder) / "result.png", Path(folder) / "runs"
            profile = load_profile(arguments.profile)
            restoration = restore_file(arguments.image, output, profile, runs=runs, experts=pool)
    print("\na server's second call")
    show(restoration.state.seconds)


def show(parts: Mapping[str, float]) -> None:
    """Print seconds and shares, and what is not experts."""
    total = sum(parts.values())
    for name, seconds in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"{name:12}{seconds:8.2f} s {seconds / total:7.1%}")
    print(f"{'total':12}{total:8.2f} s, {1 - parts['experts'] / total:.1%} of it without experts")


if __name__ == "__main__":
    main()
