"""Train one network by its recipe. Can be stopped at any time; the same command resumes it.

    python -m training.networks.train training/recipes/sr_x4.toml --data DATA/train --run-dir RUNS/sr_x4 --minutes 60

Runs on the CPU and on a GPU. The folder of a run holds checkpoint.pt (from which it is resumed, replaced every two
minutes), log.jsonl (loss and held-out PSNR), <name>.safetensors (the averaged weights in fp16, which
training.networks.export ships) and <name>.json (recipe, steps and number of photos). With --minutes the learning rate
falls to its end within that time, so that the weights are usable; a resumed run begins again with the rate that the
recipe has at its step.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imaging.atomic import atomic_write
from imaging.device import best_device
from training.data.deconvolution_pairs import deconvolution_pair, deconvolution_patches, deconvolution_rows
from training.data.loading import Bytes, Patches, load_photo, load_photos, photo_files, split, with_real_pairs
from training.data.measure import Row, gains, held_out_rows
from training.data.pairs import degrader
from training.data.pool import Pool
from training.networks.architectures import begin, build, forward, published_state
from training.optimisation import averaged_model, cosine_schedule
from training.recipe import Recipe, load_recipe

SAVE_EVERY_SECONDS = 120
MEASURE_EVERY_STEPS = 1000
DECONVOLUTION_PATCHES = 2400
REAL_PAIRS = Path("real/train")
"""Folder beside --data with real photographs and their references, for recipes with `real_pairs`."""
WEIGHTS = Path(__file__).parents[2] / "toolbox" / "weights"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of training photos")
    arguments, stop = run_arguments(parser)
    train(load_recipe(arguments.recipe), arguments.data, arguments.run_dir, arguments.minutes, stop)


def run_arguments(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, threading.Event]:
    """The parsed command line of a training, with the options of every training; the event is set by SIGTERM."""
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0: all")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return arguments, stop


def train(
    recipe: Recipe, data: Path, run_dir: Path, minutes: float = math.inf, stop: threading.Event | None = None
) -> None:
    """Train until the recipe's steps are done, `minutes` have passed or `stop` is set; resumes from a checkpoint."""
    run_dir.mkdir(parents=True, exist_ok=True)
    files, held_out_files = split(photo_files(data / recipe.photos))
    photos = load_photos(files, cache=run_dir.parent)
    rows = rows_of(recipe, held_out_files, cache=run_dir.parent)
    source: Patches | Pool
    if best_device().type == "cpu":
        source = _patches(recipe, photos, run_dir.parent, data.parent / REAL_PAIRS)
    else:
        source = Pool(recipe, files, run_dir.parent, best_device(), max(1, torch.get_num_threads() - 1))
    run = Run(recipe, run_dir, len(photos), minutes)
    batches, stop = source.batches(run.step), stop or threading.Event()
    saved_at, losses = time.monotonic(), []
    while not stop.is_set() and run.progress_at(run.step) < 1:
        losses.append(run.take_step(*next(batches)))
        if run.step % MEASURE_EVERY_STEPS == 0:
            run.log(loss=float(np.mean(losses)), **run.gains(rows))
            losses = []
        if time.monotonic() - saved_at > SAVE_EVERY_SECONDS:
            run.save()
            saved_at = time.monotonic()
    run.save()
    run.log(finished=True, **run.gains(rows))


def _patches(recipe: Recipe, photos: list[Bytes], cache: Path, real_pairs: Path) -> Patches:
    if recipe.preprocessor:
        photos = deconvolution_patches(photos, recipe, cache, DECONVOLUTION_PATCHES)
    make = deconvolution_pair if recipe.preprocessor else degrader(recipe.degrade, recipe.scale)
    if recipe.real_pairs:
        make = with_real_pairs(make, real_pairs, recipe.real_pairs)
    return Patches(photos, make, recipe.patch, recipe.batch, recipe.seed)


def rows_of(recipe: Recipe, held_out: list[Path], cache: Path) -> dict[str, list[Row]]:
    """Patches of the held-out photos, degraded by the recipe's degradation."""
    photos = [load_photo(file) for file in held_out]
    if recipe.preprocessor:
        return deconvolution_rows(deconvolution_patches(photos, recipe, cache, 2 * len(photos)), recipe)
    return held_out_rows(photos, recipe.degrade, recipe.scale)


class Run:
    """Network, averaged weights, optimiser and schedule of one training, and their checkpoint."""

    def __init__(self, recipe: Recipe, folder: Path, training_photos: int, minutes: float = math.inf) -> None:
        """Resumes from folder/checkpoint.pt if there is one. The `minutes` begin now."""
        torch.manual_seed(recipe.seed)
        self.training_photos = training_photos
        self.recipe = recipe
        self.folder = folder
        self.device = best_device()
        self.step = 0
        checkpoint = folder / "checkpoint.pt"
        network = build(recipe) if checkpoint.exists() else self.initial_network()
        self.network = _to(network, self.device).train()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate, weight_decay=0)
        state = torch.load(checkpoint, map_location=self.device, weights_only=True) if checkpoint.exists() else None
        if state:
            self.step = state["step"]
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
        self.average = averaged_model(self.network, recipe.ema, self.step)
        if state:
            self.average.module.load_state_dict(state["average"])
        self._began, self._resumed_at, self._seconds = time.monotonic(), self.step, max(60 * minutes, 1e-6)
        self._schedule = cosine_schedule(
            self.optimiser, recipe.learning_rate, recipe.warm_up, self.progress_at, self.step
        )

    def initial_network(self) -> nn.Module:
        """The network before the first step."""
        name = self.recipe.init
        return begin(self.recipe, _initial_weights(name, self.folder.parent) if name else None)

    def progress_at(self, step: int) -> float:
        """The part of the training that is finished, by steps or by time, whichever is further."""
        before = min(1.0, self._resumed_at / self.recipe.steps)
        by_time = before + (1 - before) * (time.monotonic() - self._began) / self._seconds
        return max(step / self.recipe.steps, by_time)

    def take_step(self, inputs: Tensor, targets: Tensor) -> float:
        """Take one step of the optimiser and return the loss (Charbonnier)."""
        inputs, targets = inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
        output = forward(self.network, self.recipe, inputs)
        loss = torch.sqrt((output - targets) ** 2 + self.recipe.charbonnier**2).mean()
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._schedule.step()
        self.average.update_parameters(self.network)
        return float(loss.detach())

    def gains(self, rows: dict[str, list[Row]]) -> dict[str, dict[str, float]]:
        """PSNR before and after the averaged network on held-out patches, by degradation."""
        network = _to(build(self.recipe), self.device).eval()
        network.load_state_dict(self.average.module.state_dict())

        def run(inputs: Tensor) -> Tensor:
            return forward(network, self.recipe, inputs.to(self.device))

        return {kind: asdict(gain) for kind, gain in gains(run, rows, self.recipe.scale).items()}

    def save(self) -> None:
        """Write the checkpoint, the averaged weights and their description."""
        average = self.average.module.state_dict()
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": average,
            "optimiser": self.optimiser.state_dict(),
        }
        with atomic_write(self.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)
        average = published_state(average, self.recipe.architecture)
        file = self.folder / f"{self.recipe.name}.safetensors"
        with atomic_write(file) as temporary:
            save_file({name: value.half().contiguous().cpu() for name, value in average.items()}, temporary)
        card = {
            "recipe": self.recipe.model_dump(exclude={"cards"}),
            "steps_done": self.step,
            "training_photos": self.training_photos,
        }
        file.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")

    def log(self, **figures: Any) -> None:
        """Append a line to log.jsonl and print it."""
        line = json.dumps({"step": self.step, "at": round(time.time()), **figures})
        print(line, flush=True)
        with (self.folder / "log.jsonl").open("a") as stream:
            stream.write(line + "\n")


def _to(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device).to(memory_format=torch.channels_last)


def _initial_weights(name: str, runs: Path) -> Path:
    trained, shipped = runs / name / f"{name}.safetensors", WEIGHTS / f"{name}.safetensors"
    published = runs / f"{name}.param"
    for file in (trained, shipped, published):
        if file.exists():
            return file
    raise FileNotFoundError(
        f"init = {name!r}: neither {trained} nor {shipped} nor {published} exists; train {name} first, or put the "
        "published network there"
    )


if __name__ == "__main__":
    main()
