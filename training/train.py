"""Train one network by its recipe; stop when you like, go on by the same command.

    python -m training.train training/recipes/sr_x4.toml --data DATA/train --run-dir RUNS/sr_x4 --minutes 60

Runs on the CPU and on a GPU. What a run leaves: checkpoint.pt (all that going on needs, replaced every two minutes),
log.jsonl (loss and held-out PSNR), and <name>.safetensors (the averaged weights in fp16, as they ship).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from imaging.device import best_device
from training.data import Patches, load_photos, split
from training.pairs import degrader
from training.recipe import Recipe, build_network, load_recipe

SAVE_EVERY_SECONDS = 120
MEASURE_EVERY_STEPS = 1000
HELD_OUT_PATCH = 192
WEIGHTS = Path(__file__).parent.parent / "toolbox" / "weights"


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
    train(load_recipe(arguments.recipe), arguments.data, arguments.run_dir, arguments.minutes)


def train(recipe: Recipe, data: Path, run_dir: Path, minutes: float = math.inf) -> None:
    """Train until the recipe's steps are done or the minutes are over, from the last checkpoint if there is one."""
    stop_at = time.monotonic() + 60 * minutes
    run_dir.mkdir(parents=True, exist_ok=True)
    run = _Run(recipe, run_dir)
    photos, held_out = split(load_photos(data))
    make = degrader(recipe.degrade, recipe.scale)
    batches = Patches(photos, make, recipe.patch, recipe.batch, seed=recipe.seed + run.step).batches()
    check = Patches(held_out, make, HELD_OUT_PATCH, len(held_out), seed=1)
    check_batch = next(check.batches())
    saved_at, losses = time.monotonic(), []
    while run.step < recipe.steps and time.monotonic() < stop_at:
        losses.append(run.take_step(*next(batches)))
        if run.step % MEASURE_EVERY_STEPS == 0:
            run.log(
                loss=float(np.mean(losses)), held_out_db=run.held_out_db(*check_batch), input_db=_db(*check_batch)
            )
            losses = []
        if time.monotonic() - saved_at > SAVE_EVERY_SECONDS:
            run.save()
            saved_at = time.monotonic()
    run.save()
    run.log(finished=run.step >= recipe.steps, held_out_db=run.held_out_db(*check_batch), input_db=_db(*check_batch))


class _Run:
    """Network, average and optimiser of one training, on disk and in memory."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.folder = folder
        self.device = best_device()
        self.network = begin(recipe).to(self.device, memory_format=torch.channels_last).train()
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate, weight_decay=0)
        self.step = 0
        if (folder / "checkpoint.pt").exists():
            self._load()

    def take_step(self, inputs: Tensor, targets: Tensor) -> float:
        """One step of the optimiser; gives the loss."""
        recipe = self.recipe
        warm = min(1.0, (self.step + 1) / recipe.warm_up)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / recipe.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * warm * max(cosine, 0.01)
        inputs, targets = inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            output = forward(self.network, recipe, inputs)
        loss = torch.sqrt((output.float() - targets) ** 2 + 1e-6).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._average()
        return float(loss.detach())

    def _average(self) -> None:
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.dtype.is_floating_point:
                self.average[name].lerp_(value.detach(), 1 - keep)

    def held_out_db(self, inputs: Tensor, targets: Tensor) -> float:
        """Mean PSNR (RGB) of the averaged weights on held-out patches."""
        network = build_network(self.recipe).to(self.device).eval()
        network.load_state_dict(self.average)
        with torch.inference_mode():
            outputs = [forward(network, self.recipe, one[None].to(self.device)).float().cpu() for one in inputs]
        return _db(torch.cat(outputs), targets)

    def save(self) -> None:
        """Checkpoint and weights, each replaced in one go."""
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        temporary = self.folder / "checkpoint.part"
        torch.save(state, temporary)
        temporary.replace(self.folder / "checkpoint.pt")
        export(self.average, self.folder / f"{self.recipe.name}.safetensors")

    def log(self, **figures: Any) -> None:
        """A line in log.jsonl and on the screen."""
        line = json.dumps({"step": self.step, "at": round(time.time()), **figures})
        print(line, flush=True)
        with (self.folder / "log.jsonl").open("a") as stream:
            stream.write(line + "\n")

    def _load(self) -> None:
        state = torch.load(self.folder / "checkpoint.pt", map_location=self.device, weights_only=True)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])


def begin(recipe: Recipe) -> nn.Module:
    """The network that training begins with: shipped weights, or fresh ones that (nearly) give back their input."""
    network = build_network(recipe)
    if recipe.init:
        weights = load_file(WEIGHTS / f"{recipe.init}.safetensors")
        network.load_state_dict({name: value.float() for name, value in weights.items()})
    elif recipe.architecture == "DRUNet":
        _begin_as_identity(network)
    return network


def _begin_as_identity(network: Any) -> None:
    """A DRUNet adds nothing to its input by itself: let its outermost skip carry the picture through."""
    with torch.no_grad():
        head, tail = network.m_head.weight, network.m_tail.weight
        tail *= 0.1
        for channel in range(3):
            head[channel] = 0
            head[channel, channel, 1, 1] = 1
            tail[channel, channel] = 0
            tail[channel, channel, 1, 1] = 1


def forward(network: nn.Module, recipe: Recipe, inputs: Tensor) -> Tensor:
    """Run a network as spandrel will: a DRUNet gets the constant noise map that its descriptor adds."""
    if recipe.architecture == "DRUNet":
        noise = inputs.new_full((inputs.shape[0], 1, *inputs.shape[2:]), 15 / 255)
        inputs = torch.cat([inputs, noise], dim=1)
    output: Tensor = network(inputs)
    return output


def export(weights: dict[str, Tensor], file: Path) -> None:
    """Weights as they ship: fp16 safetensors."""
    temporary = file.with_suffix(".part")
    save_file({name: value.detach().half().contiguous().cpu() for name, value in weights.items()}, temporary)
    temporary.replace(file)


def _db(outputs: Tensor, targets: Tensor) -> float:
    if outputs.shape != targets.shape:
        outputs = nn.functional.interpolate(outputs, targets.shape[2:], mode="bicubic", align_corners=False)
    error = ((outputs.clamp(0, 1) - targets) ** 2).mean((1, 2, 3))
    return round(float((-10 * error.clamp(min=1e-10).log10()).mean()), 3)


if __name__ == "__main__":
    main()
