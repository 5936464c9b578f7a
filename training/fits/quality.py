"""Train the quality score: the network that predicts the fidelity of candidates, and the expert priors.

    python -m training.fits.quality --data DATA --looks FOLDER [--steps 3000] [--series 1000] [--minutes 30]
    python -m training.fits.quality --data DATA --looks FOLDER --minutes 0 --tasks TASK ...   # if experts are new
    python -m training.fits.quality ... --begin iqa/predicted_fidelity.safetensors   # fine-tuning

Writes iqa/predicted_fidelity.safetensors and iqa/expert_priors.toml. The results of experts on degraded photos, none
of them held out (training/data/candidate_dataset.py), are kept in FOLDER, in one folder for each task: an expert runs
again only if it is new or has new weights. `python -m benchmarks.perception` evaluates on held-out photos. Since the
score ranks the candidates of one step, the loss weights differences within a step most. Series that no expert has
processed (training/data/degraded_series.py) are added, always without their input.

With `--minutes 0` the network is not trained; with `--tasks` only the priors of these tasks are updated, with their
share of the `--steps`.
"""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from imaging.device import bfloat16_where_fast
from iqa.degradation_net import DegradationNet
from iqa.features import ImageFeatures
from iqa.patches import COUNT, SIDE, Patches
from iqa.quality import candidate_row, with_change
from toolbox.tasks import Task
from training.data import degraded_series
from training.data.candidate_dataset import WORTH, DatasetCandidate, files_in, rows_of, steps_in
from training.data.candidate_dataset import draw as draw_steps
from training.data.stored_rows import handcrafted_of
from training.fits.degradation_net import draw_paths
from training.fits.net_trainer import BEGINNING, GOING_ON, Looks, Rows, fresh, go_on_from, save, train

PATCHES = 4
"""Patches of each candidate that are kept, of nine."""
MOST = 12
"""Largest number of candidates of one step."""
STEPS_PER_BATCH, SERIES_PER_BATCH = 8, 6
SERIES = "series"
"""Name of the folder of the series in that of the steps."""
BLIND = 0.35
"""Share of steps that the network gets without their input, as images of unknown origin."""
WITHIN = 4.0
"""Weight of differences within a step, relative to that of values."""
FEW = 4
"""Number of steps at which a mean is shrunk by half."""


def draw(data: Path, folder: Path, tasks: Sequence[Task], steps: int, seed: int, workers: int) -> None:
    """Draw and update the steps of these tasks; `steps` is the number for all tasks together."""
    for task in tasks:
        count = round(steps * WORTH[task] / sum(WORTH.values()))
        files = draw_steps(task, draw_paths(data, count, seed), seed, workers, folder / task.value)
        print(f"{task.value}: {sum(1 for _ in files)} steps", flush=True)


def collect(folder: Path) -> None:
    """Write the training data of the network from steps and series: candidates.npy, inputs.npy and rows.json."""
    steps, untouched = len(files_in(folder)), np.load(folder / SERIES / "looks.npy", mmap_mode="r")
    known: list[list[degraded_series.Row]] = json.loads((folder / SERIES / "rows.json").read_text())
    patch, touched = (PATCHES + 1, 3, SIDE, SIDE), sum(min(MOST, len(step)) for step in steps_in(folder))
    count = touched + len(known) * degraded_series.LENGTH
    after = np.lib.format.open_memmap(folder / "candidates.npy", "w+", np.uint8, (count, *patch))
    before = np.lib.format.open_memmap(folder / "inputs.npy", "w+", np.uint8, (steps, *patch))
    rows = list[dict[str, object]]()
    for number, step in enumerate(steps_in(folder)):
        chosen = np.random.default_rng(number).permutation(COUNT)[:PATCHES]
        before[number] = _bytes(step[0].before, chosen)
        for one in step[:MOST]:
            after[len(rows)] = _bytes(one.features, chosen)
            rows.append(_row(one, number))
    for number, of_one in enumerate(known):
        chosen = np.random.default_rng(number).permutation(COUNT)[:PATCHES]
        for pixels, row in zip(untouched[number], of_one, strict=True):
            after[len(rows)] = pixels[[*chosen, COUNT]]
            rows.append({**row, "step": steps + number, "task": None, "before": handcrafted_of(row)})
    (folder / "rows.json").write_text(json.dumps(rows))


def _bytes(features: ImageFeatures, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
    pixels = torch.cat([features.patches.near[torch.from_numpy(chosen)], features.patches.whole[None]])
    return np.asarray((pixels * 255).round().clamp(0, 255).byte())


def _row(one: DatasetCandidate, step: int) -> dict[str, object]:
    return {
        "step": step,
        "task": one.task.value,
        "name": one.name,
        "truth": one.truth,
        "handcrafted": dict(one.features.handcrafted),
        "before": dict(one.before.handcrafted),
    }


def expert_priors(rows: Sequence[Mapping[str, object]]) -> dict[str, dict[str, float]]:
    """The mean over the steps of a task of each expert's fidelity minus the mean fidelity of the step.

    Keeping the input counts as an expert. Means of few steps are shrunk towards 0.
    """
    steps = defaultdict[int, list[Mapping[str, object]]](list)
    for row in rows:
        steps[int(str(row["step"]))].append(row)
    found = defaultdict[tuple[str, str], list[float]](list)
    for step in steps.values():
        truths = [float(str(row["truth"])) for row in step]
        for row, truth in zip(step, truths, strict=True):
            found[str(row["task"]), str(row["name"])].append(truth - float(np.mean(truths)))
    table: dict[str, dict[str, float]] = {}
    for (task, name), values in sorted(found.items()):
        table.setdefault(task, {})[name] = round(sum(values) / (len(values) + FEW), 4)
    return table


class Steps:
    """The training data, in batches of steps."""

    def __init__(self, folder: Path) -> None:
        table = json.loads((folder / "rows.json").read_text())
        self.candidates: Looks = np.load(folder / "candidates.npy", mmap_mode="r")
        self.inputs: Looks = np.load(folder / "inputs.npy", mmap_mode="r")
        self.names = tuple(table[0]["handcrafted"])
        self.table = table
        self.truth = np.array([row["truth"] for row in table], np.float32)
        self.step = np.array([row["step"] for row in table])
        self.seeing, self.blind = (self._rows(table, blind) for blind in (False, True))
        self.members = [np.flatnonzero(self.step == step) for step in range(self.step.max() + 1)]
        self.of_experts = len(self.inputs)

    def _rows(self, table: Sequence[Mapping[str, Any]], blind: bool) -> Rows:
        nothing = Patches(torch.empty(0), torch.empty(0), ())
        return np.array(
            [
                candidate_row(
                    ImageFeatures(row["handcrafted"], nothing, ()),
                    ImageFeatures(row["handcrafted" if blind else "before"], nothing, ()),
                    None if blind or row["task"] is None else Task(row["task"]),
                    self.names,
                )
                for row in table
            ],
            np.float32,
        )

    def batch(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """All candidates of some steps and all images of some series, and which of them get no input."""
        several = rng.choice(self.of_experts, STEPS_PER_BATCH, replace=False)
        untouched = self.of_experts + rng.choice(len(self.members) - self.of_experts, SERIES_PER_BATCH, replace=False)
        hidden = [*(rng.random(STEPS_PER_BATCH) < BLIND), *np.ones(SERIES_PER_BATCH, bool)]
        members = [self.members[step] for step in (*several, *untouched)]
        return np.concatenate(members), np.repeat(hidden, [len(of_one) for of_one in members])

    def pixels(self, chosen: NDArray[np.int64], blind: NDArray[np.bool_], flip: bool) -> Tensor:
        """(b, patches + 1, 6, 96, 96)."""
        after = torch.from_numpy(self.candidates[chosen]).float() / 255
        before = after.clone()
        before[torch.from_numpy(~blind)] = torch.from_numpy(self.inputs[self.step[chosen[~blind]]]).float() / 255
        both = with_change(after, before)
        return both.flip(-1) if flip else both

    def rows(self, chosen: NDArray[np.int64], blind: NDArray[np.bool_]) -> Tensor:
        """Their handcrafted features."""
        return torch.from_numpy(np.where(blind[:, None], self.blind[chosen], self.seeing[chosen]))


def fit(steps: Steps, minutes: float, seed: int, begin: Path | None = None) -> DegradationNet:
    """Train with smooth L1 loss of the fidelity, and of its differences between the candidates of one step."""
    network = fresh(6, steps.seeing, 1, seed)
    if begin:
        go_on_from(network, begin)
    rng = np.random.default_rng(seed)

    def loss(network: DegradationNet) -> Tensor:
        chosen, blind = steps.batch(rng)
        pixels = steps.pixels(chosen, blind, bool(rng.random() < 0.5))
        with bfloat16_where_fast(torch.device("cpu")):
            answer, _ = network(pixels[:, :-1], pixels[:, -1], steps.rows(chosen, blind))
        error = answer[:, 0].float() - torch.from_numpy(steps.truth[chosen])
        step = torch.from_numpy(steps.step[chosen])
        same = (step[:, None] == step[None]).triu(1)
        within = (error[:, None] - error[None])[same]
        return _size(error).mean() + WITHIN * _size(within).mean()

    return train(network, loss, minutes, GOING_ON if begin else BEGINNING)


def _size(error: Tensor) -> Tensor:
    return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.02, reduction="none")


def main() -> None:
    """Draw missing data, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--looks", type=Path, required=True, help="folder for the data (about 5 GB)")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--series", type=int, default=1000, help="number of series that no expert has processed")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--tasks", type=Task, nargs="+", default=list(WORTH), choices=list(WORTH), metavar="TASK")
    parser.add_argument("--begin", type=Path, help="initial weights")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fidelity", type=Path, default=Path("iqa/predicted_fidelity.safetensors"))
    parser.add_argument("--expert-priors", type=Path, default=Path("iqa/expert_priors.toml"))
    arguments = parser.parse_args()
    draw(arguments.data, arguments.looks, arguments.tasks, arguments.steps, arguments.seed, arguments.workers)
    write_expert_priors(arguments.looks, arguments.tasks, arguments.expert_priors)
    if arguments.minutes > 0:
        paths = draw_paths(arguments.data, arguments.series, arguments.seed)
        degraded_series.draw(paths, arguments.seed, arguments.workers, arguments.looks / SERIES)
        collect(arguments.looks)
        steps = Steps(arguments.looks)
        network = fit(steps, arguments.minutes, arguments.seed, arguments.begin)
        save(
            network,
            {"handcrafted": steps.names, "outputs": ["predicted_fidelity"], "least": [0.5]},
            arguments.fidelity,
        )


def write_expert_priors(looks: Path, tasks: Sequence[Task], file: Path) -> None:
    """Replace the priors of these tasks in a file, and keep the others."""
    table = tomllib.loads(file.read_text("utf-8")) if file.exists() else {}
    for task in tasks:
        files = files_in(looks / task.value)
        rows = [row for step, one in enumerate(files) for row in rows_of(one, step)]
        table |= expert_priors(rows)  # two tables if the task has one for mixed degradations
    head = "# Written by: python -m training.fits.quality\n\n"
    file.write_text(head + tomli_w.dumps(dict(sorted(table.items()))), "utf-8")


if __name__ == "__main__":
    main()
