"""A warm call in our process against a process per call, as 4KAgent starts its tools: the same expert and picture.

`python -m benchmarks.warm_cold` prints a table. The process reads the picture, loads the expert, runs it and writes
the result; the warm call finds picture and expert in memory, as in a step of Q-MoE.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.architectures import card_of, photo
from benchmarks.random_networks import RandomNetwork
from benchmarks.report import reported
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.writing import write_image
from toolbox.card import ExpertCard, SpandrelCard
from toolbox.catalogue import Catalogue, default_catalogue
from toolbox.expert import load_expert, run_expert
from toolbox.pool import ExpertPool
from toolbox.store import ModelStore

FULL_SIZE = (
    RandomNetwork(
        "NAFNet", {"width": 32, "middle_blk_num": 1, "enc_blk_nums": [1, 1, 1, 28], "dec_blk_nums": [1] * 4}
    ),
    RandomNetwork(
        "SwinIR", {"embed_dim": 180, "depths": [6] * 6, "num_heads": [6] * 6, "window_size": 8, "mlp_ratio": 2}
    ),
)
"""Networks of published sizes (NAFNet-GoPro-width32, SwinIR-M for noise), with random weights."""
EMBEDDED = "restore4k_denoise"


@reported("warm_cold", "Warm calls and a process per call")
def main() -> None:
    """Print the table, or be the process that is started for one call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128, help="of the square picture")
    parser.add_argument("--calls", type=int, default=3, help="per expert and way")
    parser.add_argument("--child", nargs=4, metavar=("CARD", "STORE", "IN", "OUT"), help="do one call and end")
    arguments = parser.parse_args()
    if arguments.child:
        card, store, source, target = arguments.child
        one_call(SpandrelCard.model_validate_json(card), ModelStore(Path(store)), Path(source), Path(target))
        return
    side = arguments.side
    print(f"{side}x{side} pixels, {arguments.calls} calls; the least time, the median of CPU time")
    print("| expert | first, s | warm, s | own process, s | first, CPU s | warm, CPU s | own process, CPU s |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        store = ModelStore(Path(folder))
        cards = {EMBEDDED: default_catalogue().card(EMBEDDED)}
        for network in FULL_SIZE:
            cards[f"{network.title}, random"] = card_of(network, network.write(Path(folder)))
        for name, card in cards.items():
            print(measured(name, card, store, photo(side), arguments.calls), flush=True)


def one_call(card: ExpertCard, store: ModelStore, source: Path, target: Path) -> None:
    """The whole work of a tool that starts a new process."""
    write_image(run_expert(load_expert(card, store), read_image(source), ProgressToken()), target)


def measured(name: str, card: ExpertCard, store: ModelStore, image: Image, calls: int) -> str:
    """One line of the table."""
    pool = ExpertPool(Catalogue((card,)), store=store)

    def ours() -> None:
        run_expert(pool.get(card.name), image, ProgressToken())

    first = _cost(ours)
    warm = [_cost(ours) for _ in range(calls)]
    source = store.path("in.png")
    write_image(image, source, overwrite=True)
    own = [_cost(partial(_start, card, store, source)) for _ in range(calls)]
    best, least = min(one.seconds for one in warm), min(one.seconds for one in own)
    busy = (median(one.cpu_seconds for one in ways) for ways in (warm, own))
    calls_told = " | ".join(f"{value:.2f}" for value in (first.seconds, best, least, first.cpu_seconds, *busy))
    return f"| {name} | {calls_told} |"


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall seconds and CPU seconds of one call."""

    seconds: float
    cpu_seconds: float


def _start(card: ExpertCard, store: ModelStore, source: Path) -> None:
    target = store.path(f"{card.name}_{time.monotonic_ns()}.png")
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.warm_cold", "--child"]
    subprocess.run([*command, card.model_dump_json(), str(store.folder), str(source), str(target)], check=True)


def _cost(call: Callable[[], None]) -> Cost:
    started, busy = time.perf_counter(), _busy_seconds()
    call()
    return Cost(time.perf_counter() - started, _busy_seconds() - busy)


def _busy_seconds() -> float:
    """CPU seconds of this process and of its ended children."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    main()
