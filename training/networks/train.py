"""Train one network by its recipe; stop when you like, go on by the same command.

    python -m training.networks.train training/recipes/sr_x4.toml --data DATA/train --run-dir RUNS/sr_x4 --minutes 60

Runs on the CPU and on a GPU. What a run leaves: checkpoint.pt (all that going on needs, replaced every two minutes),
log.jsonl (loss and held-out PSNR), <name>.safetensors (the averaged weights in fp16, as they ship;
training.networks.export ships them) and <name>.json (how they came to be). With --minutes the learning rate is
brought down in that time, so that the weights at its end are finished ones; going on brings it up again to where the
steps of the recipe have it.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from imaging.device import best_device
from training.data.deconvolution_pairs import deconvolution_pair, deconvolution_patches, deconvolution_rows
from training.data.loading import Bytes, Patches, load_photo, load_photos, photo_files, split, with_real_pairs
from training.data.measure import Row, gains, held_out_rows
from training.data.pairs import degrader
from training.data.pool import Pool
from training.networks.architectures import begin, build, forward
from training.recipe import Recipe, load_recipe

SAVE_EVERY_SECONDS = 120
MEASURE_EVERY_STEPS = 1000
BEGUN_PIECES = 2400
REAL_PAIRS = Path("real/train")
"""Beside --data: real photographs with a reference, for recipes that ask for them."""
LOWEST = 0.01
"""The learning rate at the end, as a part of the recipe's."""
WEIGHTS = Path(__file__).parents[2] / "toolbox" / "weights"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of training photos")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0: all")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    train(load_recipe(arguments.recipe), arguments.data, arguments.run_dir, arguments.minutes, stop)


def train(
    recipe: Recipe, data: Path, run_dir: Path, minutes: float = math.inf, stop: threading.Event | None = None
) -> None:
    """Train until the recipe's steps are done or the minutes are over, from the last checkpoint if there is one."""
    run_dir.mkdir(parents=True, exist_ok=True)
    files, held_out_files = split(photo_files(data / recipe.photos))
    photos = load_photos(files, cache=run_dir.parent)
    run = Run(recipe, run_dir, training_photos=len(photos))
    rows = rows_of(recipe, held_out_files, cache=run_dir.parent)
    if run.device.type == "cpu":
        batches = _patches(recipe, photos, run_dir.parent, data.parent / REAL_PAIRS).batches(run.step)
    else:
        workers = max(1, torch.get_num_threads() - 1)
        batches = Pool(recipe, files, run_dir.parent, run.device, workers).batches(run.step)
    saved_at, losses = time.monotonic(), []
    for progress in _progress(run, recipe.steps, minutes, stop or threading.Event()):
        losses.append(run.take_step(*next(batches), progress))
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
        photos = deconvolution_patches(photos, recipe, cache, BEGUN_PIECES)
    make = deconvolution_pair if recipe.preprocessor else degrader(recipe.degrade, recipe.scale)
    if recipe.real_pairs:
        make = with_real_pairs(make, real_pairs, recipe.real_pairs)
    return Patches(photos, make, recipe.patch, recipe.batch, recipe.seed)


def rows_of(recipe: Recipe, held_out: list[Path], cache: Path) -> dict[str, list[Row]]:
    """Patches of held-out photos, degraded as the recipe says."""
    photos = [load_photo(file) for file in held_out]
    if recipe.preprocessor:
        return deconvolution_rows(deconvolution_patches(photos, recipe, cache, 2 * len(photos)), recipe)
    return held_out_rows(photos, recipe.degrade, recipe.scale)


def _progress(run: Run, steps: int, minutes: float, stop: threading.Event) -> Iterator[float]:
    """The part of the training that is behind us, by steps or by the time that is given, whichever is further."""
    began, already = time.monotonic(), min(1.0, run.step / steps)
    while not stop.is_set():
        by_time = already + (1 - already) * (time.monotonic() - began) / max(60 * minutes, 1e-6)
        progress = max(run.step / steps, by_time)
        if progress >= 1:
            return
        yield progress


class Run:
    """Network, average and optimiser of one training, on disk and in memory."""

    def __init__(self, recipe: Recipe, folder: Path, training_photos: int) -> None:
        torch.manual_seed(recipe.seed)
        self.training_photos = training_photos
        self.recipe = recipe
        self.folder = folder
        self.device = best_device()
        self.step = 0
        checkpoint = folder / "checkpoint.pt"
        weights = None if checkpoint.exists() or not recipe.init else _initial_weights(recipe.init, folder.parent)
        self.network = _to(begin(recipe, weights), self.device).train()
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate, weight_decay=0)
        if checkpoint.exists():
            self._load(checkpoint)

    def take_step(self, inputs: Tensor, targets: Tensor, progress: float) -> float:
        """One step of the optimiser at `progress` in [0, 1] of the training; gives the loss (Charbonnier)."""
        warm = min(1.0, (self.step + 1) / self.recipe.warm_up)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * warm * max(cosine, LOWEST)
        inputs, targets = inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
        output = forward(self.network, self.recipe, inputs)
        loss = torch.sqrt((output - targets) ** 2 + self.recipe.charbonnier**2).mean()
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._average()
        return float(loss.detach())

    def _average(self) -> None:
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value.detach(), 1 - keep)

    def gains(self, rows: dict[str, list[Row]]) -> dict[str, dict[str, float]]:
        """What the averaged weights gain on held-out patches, by kind of degradation."""
        network = _to(build(self.recipe), self.device).eval()
        network.load_state_dict(self.average)

        def run(inputs: Tensor) -> Tensor:
            return forward(network, self.recipe, inputs.to(self.device))

        return {kind: asdict(gain) for kind, gain in gains(run, rows, self.recipe.scale).items()}

    def save(self) -> None:
        """Checkpoint, weights and how they came to be; each of the first two is replaced in one go."""
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        temporary = self.folder / "checkpoint.part"
        torch.save(state, temporary)
        temporary.replace(self.folder / "checkpoint.pt")
        file = self.folder / f"{self.recipe.name}.safetensors"
        halves = {name: value.half().contiguous().cpu() for name, value in self.average.items()}
        save_file(halves, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
        card = {
            "recipe": self.recipe.model_dump(exclude={"cards"}),
            "steps_done": self.step,
            "training_photos": self.training_photos,
        }
        file.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")

    def log(self, **figures: Any) -> None:
        """A line in log.jsonl and on the screen."""
        line = json.dumps({"step": self.step, "at": round(time.time()), **figures})
        print(line, flush=True)
        with (self.folder / "log.jsonl").open("a") as stream:
            stream.write(line + "\n")

    def _load(self, checkpoint: Path) -> None:
        state = torch.load(checkpoint, map_location=self.device, weights_only=True)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])


def _to(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device).to(memory_format=torch.channels_last)


def _initial_weights(name: str, runs: Path) -> Path:
    beside, shipped = runs / name / f"{name}.safetensors", WEIGHTS / f"{name}.safetensors"
    for file in (beside, shipped):
        if file.exists():
            return file
    raise FileNotFoundError(f"init = {name!r}: neither {beside} nor {shipped} is there; train {name} first")


if __name__ == "__main__":
    main()
