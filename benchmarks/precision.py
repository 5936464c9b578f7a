"""Loss of the embedded networks in bfloat16 against float32, in dB, by their cards and by plain autocast.

python -m benchmarks.precision --data BENCH
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from benchmarks.report import reported
from benchmarks.trials import Trial, trials
from imaging.progress import ProgressToken
from toolbox.card import SpandrelCard
from toolbox.catalogue import default_catalogue
from toolbox.network import NetworkExpert, load_network
from toolbox.store import ModelStore
from toolbox.tasks import Task

SETS = ("set5", "set14")
"""Sets for super-resolution; other tasks are measured on photos of BSD100."""


@reported("precision", "PSNR lost to bfloat16")
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=6, help="of BSD100")
    arguments = parser.parse_args()
    measured = [trial for trial in trials(arguments.data, arguments.photos) if _counts(trial)]
    print("| network | photos | float32 | bfloat16: mean loss | worst photo | autocast: mean loss | worst photo |")
    print("|---" * 7 + "|")
    for card in default_catalogue():
        own = [trial for trial in measured if (trial.task, trial.scale) == (card.task, card.scale)]
        if isinstance(card, SpandrelCard) and card.weights and own:
            print(_row(card, own), flush=True)


def _counts(trial: Trial) -> bool:
    return trial.task is not Task.SUPER_RESOLUTION or trial.name in SETS


def _row(card: SpandrelCard, own: list[Trial]) -> str:
    exact, rounded = (_expert(card, dtype) for dtype in ("float32", "bfloat16"))
    autocast = replace(_expert(card, "float32"), card=rounded.card)
    values = list(zip(*(_values(expert, own) for expert in (exact, rounded, autocast)), strict=True))
    losses = [[row[0] - row[column] for row in values] for column in (1, 2)]
    cells = [f"{fmean(column):.4f} | {max(column):.4f}" for column in losses]
    return f"| {card.name} | {len(values)} | {fmean(row[0] for row in values):.2f} dB | {' | '.join(cells)} |"


def _expert(card: SpandrelCard, dtype: str) -> NetworkExpert:
    return load_network(card.model_copy(update={"dtype": dtype}), ModelStore())


def _values(expert: NetworkExpert, own: list[Trial]) -> Iterator[float]:
    for trial in own:
        for degraded, truth in trial.pairs():
            yield trial.db(expert(degraded, ProgressToken()), truth)


if __name__ == "__main__":
    main()
