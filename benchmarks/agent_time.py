"""Time of each part of a restoration of a 256x256 photo to 4096x4096.

    python -m benchmarks.agent_time [--against OTHER/bin/python]

Once as a command in a new process, and once as the second call of a long-running process, as in a server.
`--against`: the interpreter of an environment with another version of restore4k, for ratios from the same run; both
versions take turns. Computed seconds are CPU time of all threads and child processes; other work on the machine
disturbs it less than wall-clock time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import reported

EXAMPLE = Path(__file__).parent.parent / "examples" / "images" / "coffee.jpg"
SERVER = """
import json, sys, time
from pathlib import Path
from agent.run import restore_file
from imaging.device import keep_buffers
from profiles.loading import load_profile
from toolbox.pool import ExpertPool

image, profile, folder = sys.argv[1:]
keep_buffers()
pool = ExpertPool()
for call in ("first", "second"):
    computed, wall = time.process_time(), time.perf_counter()
    paths = {"output": Path(folder, call + ".png"), "runs": Path(folder, "runs-" + call)}
    done = restore_file(Path(image), profile=load_profile(profile), experts=pool, **paths)
    computed, wall = time.process_time() - computed, time.perf_counter() - wall
print(json.dumps({"seconds": done.state.seconds, "computed": computed, "wall": wall}))
"""


@reported("agent_time", "Time of a restoration from 256x256 to 4096x4096 by part", preformatted=True)
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=EXAMPLE)
    parser.add_argument("--profile", default="default")
    parser.add_argument("--against", type=Path, help="interpreter of the environment to compare with")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{arguments.image.name}, profile {arguments.profile}")
    image = arguments.image.absolute()
    others = [arguments.against] if arguments.against else []
    for title, measure in (("a command", command), ("a server's second call", server)):
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(arguments.rounds):
            for python in (sys.executable, *map(str, others)):
                found.setdefault(python, []).append(measure(python, image, arguments.profile))
        best = [min(runs, key=lambda run: run["computed"]) for runs in found.values()]
        print(f"\n{title}\n{steps(best[0])}")
        show(best[0]["seconds"])
        print(f"computed: {best[0]['computed']:.2f} s")
        for other in best[1:]:
            shares = (f"{best[0][kind] / other[kind]:.1%} of {other[kind]:.2f} s" for kind in ("computed", "wall"))
            print("against the other version: computed {}, wall {}".format(*shares))


def command(python: str, image: Path, profile: str) -> dict[str, Any]:
    """Seconds of one command by part, computed and wall, and the steps it took."""
    with tempfile.TemporaryDirectory() as folder:
        words = [python, "-m", "server", "restore", str(image), "--json", "--quiet", "--profile", profile]
        words += ["--output", f"{folder}/result.png", "--runs", f"{folder}/runs"]
        before, started = children(), time.perf_counter()
        # Not in a checkout, whose packages would take precedence over those of the environment.
        answer = subprocess.run(words, check=True, capture_output=True, text=True, cwd=folder)
        wall, computed = time.perf_counter() - started, children() - before
    summary = json.loads(answer.stdout)
    parts: dict[str, float] = summary["seconds"]
    return {
        "seconds": {**parts, "start-up": wall - sum(parts.values())},
        "computed": computed,
        "wall": wall,
        "steps": summary["steps"],
    }


def server(python: str, image: Path, profile: str) -> dict[str, Any]:
    """The same for the second call in one process."""
    with tempfile.TemporaryDirectory() as folder:
        words = [python, "-c", SERVER, str(image), profile, folder]
        answer = subprocess.run(words, check=True, capture_output=True, text=True, cwd=folder)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def children() -> float:
    """CPU seconds of ended child processes and their children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def steps(run: Mapping[str, Any]) -> str:
    """The steps of a run in words."""
    return ", ".join(step["step"] + " by " + step["expert"] for step in run.get("steps", ()))


def show(parts: Mapping[str, float]) -> None:
    """Print seconds and share of each part, and the share outside experts."""
    total = sum(parts.values())
    for name, seconds in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"{name:12}{seconds:8.2f} s {seconds / total:7.1%}")
    print(f"{'total':12}{total:8.2f} s, {1 - parts['experts'] / total:.1%} of it without experts")


if __name__ == "__main__":
    main()
