"""Train many networks within a given time. The same command resumes them.

    python -m training.networks.train_all --data DATA/train --runs RUNS --minutes 25

Every recipe is trained by a process of training.networks.train in the folder RUNS/<name>, whose output goes to
RUNS/<name>/output.txt. --together of them run in parallel, by default one per CPU core, or one per two cores with a
GPU. A recipe waits for the one that its `init` names. The minutes are divided by the `share` of the recipes, and each
lowers its learning rate within its part. A training that has done its steps is skipped. On SIGTERM and Ctrl-C every
training saves and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from imaging.device import best_device
from training.data.loading import load_photos, photo_files, split
from training.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
RESERVE_SECONDS = 20
"""Part of the time of each training for its start and last measurement; at most a quarter of it."""
SUCCESSFUL = (0, -signal.SIGTERM)
"""Exit statuses of successful trainings."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training photos")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--recipes", nargs="*", metavar="NAME", help="by default all")
    parser.add_argument("--recipe-folder", type=Path, default=RECIPES)
    parser.add_argument("--together", type=int, default=0, metavar="K", help="number of parallel trainings")
    arguments = parser.parse_args()
    known = {file.stem: file.resolve() for file in sorted(arguments.recipe_folder.glob("*.toml"))}
    names = arguments.recipes or list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no recipe {', '.join(unknown)} in {arguments.recipe_folder}; choose among {', '.join(known)}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    together = arguments.together or _together_by_default()
    files = [known[name] for name in dict.fromkeys(names)]
    ended = train_all(files, arguments.data.resolve(), arguments.runs.resolve(), arguments.minutes, together, stop)
    if failed := [name for name, status in ended.items() if status not in SUCCESSFUL]:
        sys.exit(f"failed: {', '.join(failed)}; see output.txt in their folders")


def train_all(
    files: Sequence[Path], data: Path, runs: Path, minutes: float, together: int, stop: threading.Event
) -> dict[str, int]:
    """Train the recipes in these files and return the exit status of each that was started."""
    deadline = time.monotonic() + 60 * minutes
    files_of = {file.stem: file for file in files}
    waiting = [recipe for recipe in by_urgency([load_recipe(file) for file in files]) if not _is_done(recipe, runs)]
    for folder in {data / recipe.photos for recipe in waiting}:
        load_photos(split(photo_files(folder))[0], cache=runs)  # decoded once, before several processes need them
    began = time.monotonic()
    parts = timetable(waiting, together)
    running: dict[str, subprocess.Popen[bytes]] = {}
    ended: dict[str, int] = {}
    over = False
    while waiting or running:
        if not over and (stop.is_set() or time.monotonic() > deadline):
            over, waiting = True, []
            for process in running.values():
                process.terminate()
        time.sleep(0.2)
        for name in [name for name, process in running.items() if process.poll() is not None]:
            ended[name] = running.pop(name).returncode
            print(f"{name} ended ({ended[name]}): {_last_line(runs / name / 'output.txt')}", flush=True)
        for recipe in startable(waiting, running, together):
            waiting.remove(recipe)
            seconds = began + parts[recipe.name] * (deadline - began) - time.monotonic()
            seconds -= min(RESERVE_SECONDS, seconds / 4)
            threads = max(1, (os.cpu_count() or 1) // together)
            running[recipe.name] = _begin(files_of[recipe.name], data, runs / recipe.name, seconds / 60, threads)
            print(f"{recipe.name} started, for {seconds / 60:.1f} minutes", flush=True)
    return ended


def timetable(recipes: Sequence[Recipe], together: int) -> dict[str, float]:
    """When each training should end, as a fraction of the whole time.

    Raises `ValueError` if the `init`s of recipes form a cycle.
    """
    waiting, running, now = list(recipes), dict[str, float](), 0.0
    ends = {}
    while waiting or running:
        for recipe in startable(waiting, running, together):
            waiting.remove(recipe)
            ends[recipe.name] = running[recipe.name] = now + recipe.share
        if not running:
            raise ValueError(f"{', '.join(one.name for one in waiting)} form a cycle; change an `init`")
        now = min(running.values())
        running = {name: end for name, end in running.items() if end > now}
    return {name: end / now for name, end in ends.items()}


def startable(waiting: Sequence[Recipe], running: Collection[str], together: int) -> list[Recipe]:
    """The recipes that can start: those whose `init` is neither waiting nor running, up to `together` in all.

    A recipe whose `init` is itself starts from the shipped weights.
    """
    unfinished = {*running, *(recipe.name for recipe in waiting)}
    able = [recipe for recipe in waiting if recipe.init == recipe.name or recipe.init not in unfinished]
    return able[: max(0, together - len(running))]


def by_urgency(recipes: Sequence[Recipe]) -> list[Recipe]:
    """The recipes sorted by the longest chain of trainings that wait for them, in shares."""

    def chain(recipe: Recipe, behind: tuple[str, ...] = ()) -> float:
        followers = [one for one in recipes if one.init == recipe.name and one.name not in (*behind, recipe.name)]
        return recipe.share + max((chain(one, (*behind, recipe.name)) for one in followers), default=0.0)

    return sorted(recipes, key=lambda recipe: -chain(recipe))


def _begin(recipe: Path, data: Path, run_dir: Path, minutes: float, threads: int) -> subprocess.Popen[bytes]:
    run_dir.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "training.networks.train",
        str(recipe),
        "--data",
        str(data),
        "--run-dir",
        str(run_dir),
    ]
    command += ["--minutes", f"{minutes:.3f}", "--threads", str(threads)]
    with (run_dir / "output.txt").open("ab") as output:
        # In its own session, because Ctrl-C would end it without saving.
        return subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _is_done(recipe: Recipe, runs: Path) -> bool:
    card = runs / recipe.name / f"{recipe.name}.json"
    return card.exists() and json.loads(card.read_text("utf-8"))["steps_done"] >= recipe.steps


def _last_line(file: Path) -> str:
    lines = file.read_text("utf-8", errors="replace").splitlines()
    return lines[-1] if lines else ""


def _together_by_default() -> int:
    cores = os.cpu_count() or 1
    return cores if best_device().type == "cpu" else max(1, cores // 2)


if __name__ == "__main__":
    main()
