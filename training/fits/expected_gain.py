"""Fits the expected gain of every expert, and writes the model that iqa/ ships.

    python -m training.fits.expected_gain --cases FOLDER [FOLDER ...]

FOLDERs are what `training.data.expert_gains` has written. Photos are divided into folds; every perceptron of the
ensemble leaves one fold out, and the shift of each lower quantile is set on what was left out. Cases of held-out
photos (training/data/photos.py) take no part; what the fit is worth on them is printed. With `--experts`, only
these are fitted, and the shipped model's predictions for them are averaged with those of the fit.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from imaging.convert import from_numpy
from imaging.image import Image
from iqa.expected_gain import CLEAR_DB, LIMIT, GainModel, is_probable, load_gain_model, model_input
from iqa.features import extract_features
from toolbox.tasks import Task
from training.data.degradation_sampling import single_threaded
from training.data.expert_gains import case_files, load_case

Floats = NDArray[np.float64]
FOLDS = 6
QUANTILES = (0.2, 0.5)
HIDDEN, STEPS, BATCH, DROPOUT, LEARNING_RATE, WEIGHT_DECAY = 192, 2500, 128, 0.5, 2e-3, 1e-1
LARGEST_DB = 3.0
"""Gains are clipped here: beyond it nothing changes for the decision."""
SAME_DB = 45.0
"""PSNR from which two pictures count as the same."""
HARM_DB = -0.25
PLANNED_HARM = 0.025
"""Largest share of an expert's clear gains that turn out to be harm."""
PLANNED_CLEAN = 0.005
"""Largest share of clean pictures on which an expert's gain may be clear."""
LAYERS = ("hidden", "hidden_bias", "output", "output_bias")
TONE_FAULT_DB = 18.0
"""PSNR below which tones are wrong: there it says little of what noise and blur cost; it sets no shift of theirs."""


@dataclass(frozen=True, slots=True)
class Gains:
    """All cases of a folder."""

    inputs: Tensor
    """(n, f): see `iqa.expected_gain.model_input`."""
    gains: Floats
    """(n, experts) in dB; not a number where an expert gave nothing."""
    experts: tuple[str, ...]
    tasks: tuple[str, ...]
    folds: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    origins: NDArray[np.str_]
    before_db: Floats
    """(n,): PSNR of the pictures as they are."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One case, ready for the fit."""

    inputs: NDArray[np.float32]
    table: dict[str, Any]
    photo: str
    held_out: bool
    origin: str


def _row(file: Path) -> _Row:
    case, table = load_case(file)
    with torch.inference_mode():
        inputs = model_input(extract_features(Image(from_numpy(case.picture)))).numpy()
    origin = "reduced" if case.labels.get("kind") == "reduced" else case.origin
    return _Row(inputs, table, str(case.labels["photo"]), bool(case.labels["held_out"]), origin)


def load_gains(*folders: Path, experts: Sequence[str] = (), workers: int = 1) -> Gains:
    """Cases of folders with the inputs of the model and the gains of `experts` (default: all); about a second each on
    one core.

    Real pairs count four times: they alone say how blurred photographs are that are not meant to be. Pictures that
    were only reduced count three times, so that they are seldom taken for compressed ones.
    """
    files = [file for folder in folders for file in case_files(folder)]
    with get_context("spawn").Pool(workers, initializer=single_threaded) as pool:
        rows = pool.map(_row, files, chunksize=8)
    rows += 3 * [row for row in rows if row.origin == "real"] + 2 * [row for row in rows if row.origin == "reduced"]
    found = {name: Task(each["task"]) for row in rows for name, each in row.table["experts"].items()}
    names = tuple(sorted(set(experts) or found))
    return Gains(
        torch.from_numpy(np.stack([row.inputs for row in rows])),
        np.array([[_gain(row.table, name) for name in names] for row in rows]),
        names,
        tuple(found[name].value for name in names),
        np.array([zlib.crc32(row.photo.encode()) // 5 % FOLDS for row in rows]),
        np.array([row.held_out for row in rows]),
        np.array([row.origin for row in rows]),
        np.array([row.table["psnr"] for row in rows]),
    )


def _gain(table: dict[str, Any], name: str) -> float:
    """In dB; pictures that are the same gain nothing."""
    row = table["experts"].get(name)
    return min(row["psnr"], SAME_DB) - min(table["psnr"], SAME_DB) if row else float("nan")


def fit(data: Gains, seed: int, shipped: GainModel | None = None) -> tuple[GainModel, Floats]:
    """The model without shifts, and the predictions (n, experts, 2) of the perceptrons that left a case out.

    Inputs are standardised as for the model that is `shipped`, if it is given.
    """
    learned = ~data.held_out
    centre, spread = data.inputs[learned].mean(0), data.inputs[learned].std(0) + 1e-3
    if shipped:
        centre, spread = shipped.centre, shipped.spread
    standard = ((data.inputs - centre) / spread).clamp(-LIMIT, LIMIT)
    left_out = np.full((*data.gains.shape, 2), np.nan)
    layers = []
    for fold in range(FOLDS):
        chosen = learned & (data.folds != fold)
        network = _fit_one(standard[chosen], torch.from_numpy(data.gains[chosen]).float(), seed + fold)
        first, last = cast("nn.Linear", network[0]), cast("nn.Linear", network[3])
        layers.append((first.weight.T, first.bias[None], last.weight.T, last.bias[None]))
        rest = learned & (data.folds == fold)
        with torch.inference_mode():
            left_out[rest] = network(standard[rest]).reshape(int(rest.sum()), -1, 2).numpy()
    stacked = [torch.stack([one[index].detach() for one in layers]) for index in range(4)]
    return GainModel(data.experts, data.tasks, (0.0,) * len(data.experts), centre, spread, *stacked), left_out


def with_mean_predictions(shipped: GainModel, fitted: GainModel) -> GainModel:
    """`shipped` with the mean of its predictions and those of `fitted` for the experts of `fitted`.

    Their hidden layers stand side by side. Both standardise inputs alike and have the same number of perceptrons;
    `shipped` knows all experts of `fitted`, whose shifts are those of the mean.
    """
    places = [shipped.experts.index(name) for name in fitted.experts]
    shares = torch.ones(len(shipped.experts), 1)
    shares[places] = 0.5

    def own(tensor: Tensor) -> Tensor:
        """(k, n, 2 experts), scaled."""
        return (tensor.reshape(*tensor.shape[:-1], -1, 2) * shares).flatten(-2)

    def new(tensor: Tensor) -> Tensor:
        """(k, n, 2 fitted experts), scaled and at the places of all experts."""
        halves = tensor.new_zeros(*tensor.shape[:2], len(shipped.experts), 2)
        halves[:, :, places] = tensor.reshape(*tensor.shape[:-1], -1, 2) / 2
        return halves.flatten(-2)

    known = dict(zip(fitted.experts, fitted.shifts, strict=True))
    return GainModel(
        shipped.experts,
        shipped.tasks,
        tuple(known.get(name, shift) for name, shift in zip(shipped.experts, shipped.shifts, strict=True)),
        shipped.centre,
        shipped.spread,
        torch.cat([shipped.hidden, fitted.hidden], -1),
        torch.cat([shipped.hidden_bias, fitted.hidden_bias], -1),
        torch.cat([own(shipped.output), new(fitted.output)], 1),
        own(shipped.output_bias) + new(fitted.output_bias),
    )


def _fit_one(inputs: Tensor, gains: Tensor, seed: int) -> nn.Sequential:
    """Pinball loss at `QUANTILES`; cosine schedule."""
    torch.manual_seed(seed)
    experts = gains.shape[1]
    network = nn.Sequential(
        nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, 2 * experts)
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    known, truth = gains.isfinite(), gains.nan_to_num().clamp(-LARGEST_DB, LARGEST_DB)
    levels = torch.tensor(QUANTILES)
    rows = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        chosen = torch.randint(len(inputs), (BATCH,), generator=rows)
        error = truth[chosen][..., None] - network(inputs[chosen]).reshape(BATCH, experts, 2)
        loss = (torch.maximum(levels * error, (levels - 1) * error) * known[chosen][..., None]).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return network.eval()


def shifts_of(data: Gains, left_out: Floats) -> list[float]:
    """By how much each lower quantile is lowered: clear gains shall seldom be harm, or be seen in clean pictures."""
    shifts = []
    for index in range(len(data.experts)):
        low, gain = left_out[:, index, 0], data.gains[:, index]
        known = np.isfinite(low) & np.isfinite(gain)
        if not Task(data.tasks[index]).spec.is_global:
            known &= data.before_db > TONE_FAULT_DB
        clean = known & (data.origins == "clean")
        least = _least_low(low[known], gain[known])
        if clean.any():
            least = max(least, float(np.quantile(low[clean], 1 - PLANNED_CLEAN)))
        shifts.append(max(0.0, least - CLEAR_DB))
    return shifts


def _least_low(low: Floats, gain: Floats) -> float:
    """The smallest lower quantile from which at most `PLANNED_HARM` of the cases lose."""
    order = np.argsort(-low)
    harm = np.cumsum(gain[order] < HARM_DB) / np.arange(1, len(low) + 1)
    allowed = np.flatnonzero(harm <= PLANNED_HARM)
    first_refused = allowed[-1] + 1 if len(allowed) else 0
    return float(low[order][first_refused]) if first_refused < len(low) else -np.inf


def predicted(model: GainModel, data: Gains) -> Floats:
    """(n, experts, 2): the quantiles that a model predicts for the experts of `data`."""
    places = [model.experts.index(name) for name in data.experts]
    with torch.inference_mode():
        return model(data.inputs)[:, places].double().numpy()


def report(data: Gains, model: GainModel) -> None:
    """On cases of held-out photos: how often a task that would gain 1 dB is planned, and one that would harm."""
    quantiles, shifts = predicted(model, data)[data.held_out], dict(zip(model.experts, model.shifts, strict=True))
    gains, origins = data.gains[data.held_out], data.origins[data.held_out]
    for task in dict.fromkeys(data.tasks):
        own = [index for index, one in enumerate(data.tasks) if one == task]
        best = np.array(own)[quantiles[:, own, 1].argmax(1)]
        rows = np.arange(len(gains))
        low = quantiles[rows, best, 0] - np.array([shifts[data.experts[index]] for index in best])
        truth, most = gains[rows, best], np.nanmax(gains[:, own], 1)
        planned = np.array(
            [is_probable(Task(task), *both) for both in zip(low, quantiles[rows, best, 1], strict=True)]
        )
        needed, harm = most >= 1, truth < HARM_DB
        print(
            f"{task:22} >= 1 dB planned {planned[needed].mean():.2f} of {needed.sum()}, harmful planned "
            f"{planned[harm].mean():.3f} of {harm.sum()}, gain where planned {np.nanmean(truth[planned]):+.2f}, "
            f"worst {np.nanmin(truth[planned], initial=0):+.2f}, "
            f"clean planned {planned[origins == 'clean'].mean():.3f}"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, nargs="+", required=True)
    parser.add_argument("--experts", nargs="*", default=(), help="improve only the predictions for these")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("iqa/expected_gain.safetensors"))
    arguments = parser.parse_args()
    shipped = load_gain_model() if arguments.experts else None
    data = load_gains(*arguments.cases, experts=arguments.experts, workers=arguments.workers)
    model, left_out = fit(data, arguments.seed, shipped)
    if shipped:
        left_out = (left_out + predicted(shipped, data)) / 2
    model = replace(model, shifts=tuple(shifts_of(data, left_out)))
    if shipped:
        model = with_mean_predictions(shipped, model)
    report(data, model)
    save(model, arguments.output)


def save(model: GainModel, file: Path) -> None:
    """Write the file that `iqa.expected_gain.load_gain_model` reads; layers in half precision."""
    layers = {name: getattr(model, name).half().contiguous() for name in LAYERS}
    names = {"experts": model.experts, "tasks": model.tasks, "shifts": model.shifts}
    tensors = {"centre": model.centre, "spread": model.spread, **layers}
    save_file(tensors, file, metadata={"names": json.dumps(names)})


if __name__ == "__main__":
    main()
