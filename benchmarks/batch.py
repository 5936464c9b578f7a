"""Batches: against one call per picture, with one or two workers, with Ray, and their memory and overhead.

`python -m benchmarks.batch PART` prints a table; PART is calls, workers, busy, ray, memory or record. Pictures are
parts of the photos of scikit-image, 64x64, a quarter each noisy, dark, compressed and clean, enlarged 2x by
ExpSR-s2-F; those of the part busy have 0.1 to 12 megapixels and are restored by the default profile, in minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import PIL.Image
import psutil
import skimage.data

from agent.batch.engines.in_process import InProcessEngine
from agent.batch.engines.local import LocalEngine, ProcessHandle
from agent.batch.engines.on_ray import RayEngine
from agent.batch.engines.work import Outcome, Work
from agent.batch.engines.worker import Worker
from agent.batch.record import Entry, Figures
from agent.batch.request import BatchRequest
from agent.batch.runner import EngineOpener, Tally, run_batch
from agent.run import StepTaken
from benchmarks.report import reported
from imaging.progress import ProgressToken
from profiles.loading import load_profile

SIDE = 64
PROFILE = "ExpSR-s2-F"
COMMAND = (sys.executable, "-W", "ignore", "-m", "server")
MEMORY_AT = (20, 100, 200)


def main() -> None:
    """Print the table of one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--pictures", type=int, help="in the batch; otherwise 64, for memory 200, for ray 32")
    parser.add_argument("--calls", type=int, default=6, help="of one picture each, for the part calls")
    parser.add_argument("--side", type=int, default=SIDE, help="of a picture in pixels, at most 256")
    arguments = parser.parse_args()
    title = f"Batches: {arguments.part}"
    with tempfile.TemporaryDirectory() as folder, reported(f"batch_{arguments.part}", title):
        if arguments.part != "busy":
            print(f"Pictures of {arguments.side}x{arguments.side} by {PROFILE}\n")
        PARTS[arguments.part](Path(folder), arguments)


def calls(folder: Path, arguments: argparse.Namespace) -> None:
    """The command on a folder, and the command once per picture of the folder."""
    source = pictures(folder / "in", arguments.pictures or 64, arguments.side)
    files = sorted(source.iterdir())
    some = files[:: max(1, len(files) // arguments.calls)][: arguments.calls]
    each = [cost(partial(_restore, file, folder)) for file in some]
    singles = [len(files) * median(values) for values in zip(*each, strict=True)]
    whole = cost(partial(_batch, source, folder / "out"))
    print(f"| {len(files)} pictures | seconds | CPU seconds |\n|---|---|---|")
    print(f"| one call a picture, by the median of {len(some)} | {singles[0]:.1f} | {singles[1]:.1f} |")
    print(f"| `restore4k batch` | {whole[0]:.1f} | {whole[1]:.1f} |")
    print(f"| times as fast | {singles[0] / whole[0]:.1f} | {singles[1] / whole[1]:.1f} |")


def workers(folder: Path, arguments: argparse.Namespace) -> None:
    """Ways to divide the cores among workers and threads."""
    source = pictures(folder / "in", arguments.pictures or 64, arguments.side)
    count = os.cpu_count() or 1
    print("| workers | threads of each | seconds | CPU seconds |\n|---|---|---|---|")
    for many, threads in ((count, 1), (1, count), (1, 1)):
        engine = partial(LocalEngine, workers=many, threads=threads)
        taken = cost(partial(batch, source, folder / f"{many}-{threads}", engine))
        print(f"| {many} | {threads} | {taken[0]:.1f} | {taken[1]:.1f} |", flush=True)


def busy(folder: Path, arguments: argparse.Namespace) -> None:
    """The share of core time that one worker per core uses; run it on an idle machine."""
    source = photos(folder / "in", arguments.pictures or 12)
    count, handles, stamps = os.cpu_count() or 1, dict[int, ProcessHandle](), list[tuple[float, float]]()

    def stamp(tally: Tally, entry: Entry | None) -> None:
        if entry is not None and entry.status == "failed":
            raise SystemExit(entry.reason)
        if entry is not None and tally.ended <= tally.total - count:  # after that, a worker may be idle
            stamps.append((time.perf_counter(), sum(map(computed, handles.values()))))

    request = BatchRequest(source, folder / "out", load_profile("default"))
    whole = cost(partial(run_batch, request, watched(handles, workers=count, threads=1), listener=stamp))
    (begin, before), (end, after) = stamps[count - 1], stamps[-1]
    print("0.1 to 12 megapixels by default\n\n| seconds of | | CPU | of the cores |\n|---|---|---|---|")
    parts = {"the time with pictures for all workers": (end - begin, after - before), "the whole call": whole}
    for name, (seconds, worked) in parts.items():
        print(f"| {name} | {seconds:.1f} | {worked:.1f} | {worked / seconds / count:.1%} |")


def ray(folder: Path, arguments: argparse.Namespace) -> None:
    """The local engine and Ray in turn, with and without their start-up."""
    source = pictures(folder / "in", arguments.pictures or 32, arguments.side)
    count = os.cpu_count() or 1
    print("| engine | seconds | once every worker has given a result |\n|---|---|---|")
    warm: dict[str, list[float]] = {"local": [], "ray": []}
    for turn in range(2):
        for name, engine in (("local", LocalEngine), ("ray", RayEngine)):
            stamps: list[float] = []
            opener: EngineOpener = partial(engine, workers=count)
            whole, _ = cost(partial(batch, source, folder / f"{name}-{turn}", opener, stamps))
            warm[name].append(stamps[-1] - stamps[count - 1])
            print(f"| {name} | {whole:.1f} | {warm[name][-1]:.1f} |", flush=True)
    overhead = min(warm["ray"]) / min(warm["local"]) - 1
    print(f"\nRay takes {overhead:+.1%} (the least times, once every worker has given a result)")


def memory(folder: Path, arguments: argparse.Namespace) -> None:
    """Memory of the worker processes after some pictures."""
    source = pictures(folder / "in", arguments.pictures or MEMORY_AT[-1], arguments.side)
    handles: dict[int, ProcessHandle] = {}

    def look(tally: Tally, entry: Entry | None) -> None:
        if entry is not None and tally.done in MEMORY_AT:
            held = [resident(handle.process.pid or 0) for handle in handles.values()]
            line = ", ".join(f"{one} ({most} at most)" for one, most in held)
            print(f"| {tally.done} | {line} | {resident(os.getpid())[0]} |", flush=True)

    print("| pictures | MiB of each worker | MiB of the command |\n|---|---|---|")
    run_batch(BatchRequest(source, folder / "out", load_profile(PROFILE)), watched(handles), listener=look)


def record(folder: Path, arguments: argparse.Namespace) -> None:
    """CPU time of the command itself per picture, with workers that take no time, and with nothing left to do."""
    source = folder / "in"
    count = arguments.pictures or 5000
    for number in range(count):
        file = source / str(number // 500) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"picture")
    request = BatchRequest(source, folder / "out", load_profile(PROFILE), thumbnails=100)
    print("| pictures | CPU ms for each | MiB of the command |\n|---|---|---|")
    for what in ("recorded", "found to be done"):
        _, busy = cost(partial(run_batch, request, lambda config: InProcessEngine(Copier(config))))
        print(f"| {count} {what} | {1000 * busy / count:.2f} | {resident(os.getpid())[0]} |", flush=True)


class Copier(Worker):
    """Copies pictures instead of restoring them."""

    def restore(self, work: Work, token: ProgressToken, report: Callable[[float], None]) -> Outcome:
        """A copy."""
        work.result.write_bytes(work.picture.file.read_bytes())
        step = StepTaken(step="denoising", expert="restore4k_denoise", score=0.5)
        plan, steps = ("denoising", "super_resolution 4x"), (step, step)
        figures = Figures(width=4096, height=4096, plan=plan, steps=steps, quality=0.5, gain=0.1, seconds=30.0)
        return Outcome(work, figures)


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "calls": calls,
    "workers": workers,
    "busy": busy,
    "ray": ray,
    "memory": memory,
    "record": record,
}


def pictures(folder: Path, count: int, side: int) -> Path:
    """A folder of that number of pictures with that side in pixels."""
    folder.mkdir()
    photos = (skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea())
    dice = np.random.default_rng(0)
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (int(dice.integers(0, length - side)) for length in photo.shape[:2])
        part = photo[top : top + side, left : left + side].astype(float)
        kind = number % 4
        if kind == 0:
            part += dice.normal(0, 25, part.shape)
        elif kind == 1:
            part *= 0.3
        picture = PIL.Image.fromarray(np.clip(part, 0, 255).astype(np.uint8))
        if kind == 2:
            picture.save(folder / f"{number:03}.jpg", quality=15)
        else:
            picture.save(folder / f"{number:03}.png")
    return folder


def photos(folder: Path, count: int) -> Path:
    """A folder of that number of photos of 0.1 to 12 megapixels, large and small ones in turn, with some noise."""
    folder.mkdir()
    dice, photo = np.random.default_rng(0), PIL.Image.fromarray(skimage.data.retina()[300:1100, 300:1100])
    for number, megapixels in enumerate(dice.permutation(np.geomspace(0.1, 12, count))):
        side = round((megapixels * 1e6) ** 0.5)
        pixels = np.asarray(photo.resize((side, side)), float) + dice.normal(0, 6, (side, side, 3))
        PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number:03}.jpg", quality=92)
    return folder


def watched(
    handles: dict[int, ProcessHandle], workers: int | None = None, threads: int | None = None
) -> EngineOpener:
    """Opens an engine that writes its latest processes to `handles`."""

    class Watched(LocalEngine):
        def start_worker(self, number: int) -> ProcessHandle:
            handles[number] = super().start_worker(number)
            return handles[number]

    return partial(Watched, workers=workers, threads=threads)


def computed(handle: ProcessHandle) -> float:
    """CPU seconds of a worker and its decoding processes, including ended ones."""
    worker = psutil.Process(handle.process.pid)
    return sum(sum(process.cpu_times()[:4]) for process in (worker, *worker.children(recursive=True)))


def batch(source: Path, results: Path, engine: EngineOpener, stamps: list[float] | None = None) -> None:
    """One batch with its start-up; appends the time at which each picture ended to `stamps`."""

    def stamp(tally: Tally, entry: Entry | None) -> None:
        if entry is not None and stamps is not None:
            stamps.append(time.perf_counter())

    report = run_batch(BatchRequest(source, results, load_profile(PROFILE)), engine, listener=stamp)
    if report.failed:
        raise SystemExit(f"{report.failed} failed: {report.failures[0]}")


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock seconds, and CPU seconds of this process and of its ended children."""
    started, busy = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - started, sum(os.times()[:4]) - busy


def resident(process: int) -> tuple[int, int]:
    """Current and peak resident memory of a process in MiB (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(values["VmRSS"].split()[0]) >> 10, int(values["VmHWM"].split()[0]) >> 10


def _restore(file: Path, folder: Path) -> None:
    result = folder / f"{file.stem}_restored.png"
    _call("restore", file, "-o", result, "--runs", folder / "runs")


def _batch(source: Path, results: Path) -> None:
    _call("batch", source, results)


def _call(*arguments: object) -> None:
    """Run the command with waiting threads that yield their core, for comparability on a machine that is not idle."""
    command = [*COMMAND, *map(str, arguments), "-p", PROFILE]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"})


if __name__ == "__main__":
    main()
