"""Train a small network on a teacher's answers or on photos, optionally with an adversarial loss for texture.

    python -m training.networks.distill training/recipes/students/student_small_x4.toml \\
        --pairs RUNS/student_pairs --run-dir RUNS/student_small_x4 --minutes 600
    python -m training.networks.distill training/recipes/students/sr_x4_texture.toml \\
        --data DATA/train --run-dir RUNS/sr_x4_texture --minutes 120

Can be stopped at any time; the same command resumes it. The pairs come from training.data.teacher_pairs, which may
still be making more; with --data the targets are photos. Every 500 steps log.jsonl gets the PSNR to the targets on
held-out pairs, and the mean high frequencies as a share of the targets': 1 where there is as much texture.
"""

from __future__ import annotations

import argparse
import itertools
import math
import threading
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.nn.utils.parametrizations import spectral_norm

from imaging.atomic import atomic_write
from imaging.convert import to_uint8
from imaging.device import bfloat16_where_fast
from toolbox.catalogue import default_catalogue
from toolbox.expert import load_expert
from toolbox.network import NetworkExpert
from training.data.loading import Bytes, Patches, load_photo, load_photos, photo_files, random_patch, split
from training.data.pairs import degrader
from training.data.teacher_pairs import TEACHER, load_pairs, load_shard
from training.networks.architectures import forward
from training.networks.train import SAVE_EVERY_SECONDS, Run, run_arguments
from training.recipe import Recipe

SHARDS_IN_MEMORY = 32
BATCHES_PER_SHARD = 20
MEASURE_EVERY_STEPS = 500
MEASURED_PAIRS = 48
COLOUR_BLOCK, SMOOTHED = 8, 9
PER_HELD_OUT = 2
"""Pairs of each held-out photo."""


class StudentRecipe(Recipe):
    """A recipe of a distilled network."""

    pixel_steps: int = Field(ge=0)
    """Steps on pixels alone, before the adversarial ones."""
    gradient: float = Field(default=0.5, ge=0)
    """Weight of the L1 distance of horizontal and vertical differences."""
    frequency: float = Field(default=0.05, ge=0)
    """Weight of the L1 distance of the Fourier transforms."""
    adversarial: float = Field(default=0.02, ge=0)
    """Weight of the adversarial loss."""
    ldl: float = Field(default=1.0, ge=0)
    """Weight of the locally discriminative loss against artifacts (Liang et al. 2022, arXiv 2203.09195)."""
    discriminator: int = Field(default=32, ge=4)
    """Features of the discriminator's first layer."""
    clean_input_targets: bool = False
    """The targets are the initial network's results for the clean inputs, with the colours of the photos, so that the
    student learns to ignore a light degradation and keeps its textures.
    """
    teacher_blocks: tuple[int, ...] = ()
    """Residual blocks of the teacher, an RRDBNet, with which the student begins; the others are left out."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--pairs", type=Path, help="folder of a teacher's pairs")
    kinds.add_argument("--data", type=Path, help="folder of photos, which are the targets in place of a teacher's")
    arguments, stop = run_arguments(parser)
    file: Path = arguments.recipe
    recipe, runs = load_student_recipe(file), arguments.run_dir.parent
    source = photo_pairs(recipe, arguments.data, runs) if arguments.data else stored_pairs(recipe, arguments.pairs)
    distill(recipe, source, arguments.run_dir, arguments.minutes, stop)


def load_student_recipe(file: Path) -> StudentRecipe:
    """Load a recipe from a TOML file. Raises pydantic's `ValidationError` with the wrong key."""
    return StudentRecipe.model_validate({"name": file.stem, **tomllib.loads(file.read_text("utf-8"))})


@dataclass(frozen=True, slots=True)
class PairSource:
    """The pairs of a training."""

    held_out: tuple[Bytes, Bytes]
    """Inputs (N, h, w, 3) and targets (N, H, W, 3)."""
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    """Endless batches of (B, 3, h, w) inputs and (B, 3, H, W) targets, from the batch of a given number on."""
    photos: int = 0
    """Number of photos that are the targets."""


def stored_pairs(recipe: StudentRecipe, folder: Path) -> PairSource:
    """The pairs that training.data.teacher_pairs made."""
    return PairSource(load_pairs(folder / "held_out"), partial(batches, recipe, folder))


def photo_pairs(recipe: StudentRecipe, data: Path, runs: Path) -> PairSource:
    """Photos as targets, degraded as the recipe says; decoded once, into a file in `runs`."""
    files, held_out = split(photo_files(data / recipe.photos))
    make = degrader(recipe.degrade, recipe.scale)
    rng = np.random.default_rng(recipe.seed)
    photos = [load_photo(file) for file in held_out]
    pairs = [make(random_patch(photo, recipe.patch, rng), rng) for photo in photos for _ in range(PER_HELD_OUT)]
    inputs, targets = (to_uint8(np.stack(part)) for part in zip(*pairs, strict=True))
    patches = Patches(load_photos(files, cache=runs), make, recipe.patch, recipe.batch, recipe.seed)
    return PairSource((inputs, targets), patches.batches, len(files))


def distill(
    recipe: StudentRecipe,
    source: PairSource,
    run_dir: Path,
    minutes: float = math.inf,
    stop: threading.Event | None = None,
) -> None:
    """Train until the recipe's steps are done, `minutes` have passed or `stop` is set; resumes from a checkpoint."""
    run_dir.mkdir(parents=True, exist_ok=True)
    run = StudentRun(recipe, run_dir, minutes, source.photos)
    stop, saved_at, losses = stop or threading.Event(), time.monotonic(), list[float]()
    for inputs, targets in source.batches(run.step):
        if stop.is_set() or run.progress_at(run.step) >= 1:
            break
        losses.append(run.take_step(inputs, targets))
        if run.step % MEASURE_EVERY_STEPS == 0:
            run.log(loss=float(np.mean(losses)), **figures_of(run.average.module, recipe, *source.held_out))
            losses = []
        if time.monotonic() - saved_at > SAVE_EVERY_SECONDS:
            run.save()
            saved_at = time.monotonic()
    run.save()
    run.log(finished=True, **figures_of(run.average.module, recipe, *source.held_out))


def batches(recipe: StudentRecipe, folder: Path, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches: (B, 3, h, w) inputs and (B, 3, H, W) targets, float32 in [0, 1].

    A part of the shards is held in memory, and the oldest is replaced every few batches, also by new ones.
    """
    rng = np.random.default_rng([recipe.seed, first])
    side, scale = recipe.patch // recipe.scale, recipe.scale
    shards: deque[tuple[Bytes, Bytes]] = deque(maxlen=SHARDS_IN_MEMORY)
    while True:
        files = sorted(folder.glob("*.npz"))
        if not files:
            raise FileNotFoundError(f"no .npz files in {folder}; training.data.teacher_pairs makes them")
        while len(shards) < min(SHARDS_IN_MEMORY, len(files)) - 1:
            shards.append(load_shard(files[int(rng.integers(len(files)))]))
        shards.append(load_shard(files[int(rng.integers(len(files)))]))
        for _ in range(BATCHES_PER_SHARD):
            inputs, targets = list[Bytes](), list[Bytes]()
            for _ in range(recipe.batch):
                given, answer = shards[int(rng.integers(len(shards)))]
                number = int(rng.integers(len(given)))
                top, left = (int(value) for value in rng.integers(given.shape[1] - side + 1, size=2))
                turns, mirrored = int(rng.integers(4)), int(rng.integers(2)) * 2 - 1
                for patches, pixels, factor in ((inputs, given, 1), (targets, answer, scale)):
                    rows = slice(top * factor, (top + side) * factor)
                    columns = slice(left * factor, (left + side) * factor)
                    patches.append(np.rot90(pixels[number, rows, columns], turns)[:, ::mirrored])
            yield _as_tensor(np.stack(inputs)), _as_tensor(np.stack(targets))


def _as_tensor(pixels: Bytes) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255


class StudentRun(Run):
    """A training with a discriminator, which takes part from `pixel_steps` on."""

    recipe: StudentRecipe

    def __init__(self, recipe: StudentRecipe, folder: Path, minutes: float = math.inf, photos: int = 0) -> None:
        """Resumes from folder/checkpoint.pt and folder/discriminator.pt if they are there."""
        super().__init__(recipe, folder, photos, minutes)
        self.initial: nn.Module | None = None
        if recipe.clean_input_targets:
            self.initial = self.initial_network().to(self.device).eval().requires_grad_(False)
        self.judge = UNetDiscriminator(recipe.discriminator).to(self.device).to(memory_format=torch.channels_last)
        self.judge_optimiser = torch.optim.AdamW(
            self.judge.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0
        )
        file = folder / "discriminator.pt"
        if file.exists():
            state = torch.load(file, map_location=self.device, weights_only=True)
            self.judge.load_state_dict(state["network"])
            self.judge_optimiser.load_state_dict(state["optimiser"])

    def initial_network(self) -> nn.Module:
        """As the base class, or the teacher without the blocks that the recipe leaves out."""
        network = super().initial_network()
        if self.recipe.teacher_blocks:
            teacher = load_expert(default_catalogue().card(TEACHER))
            assert isinstance(teacher, NetworkExpert)  # noqa: S101  # for the type checker
            network.load_state_dict(without_blocks(teacher.descriptor.model.state_dict(), self.recipe.teacher_blocks))
        return network

    def take_step(self, inputs: Tensor, targets: Tensor) -> float:
        """Take one step of both optimisers and return the loss on pixels."""
        inputs, targets = (t.to(self.device, memory_format=torch.channels_last) for t in (inputs, targets))
        if self.initial is not None:
            targets = clean_input_targets(self.initial, self.recipe, targets)
        output = forward(self.network, self.recipe, inputs)
        pixel_loss = loss = self._pixel_loss(output, targets)
        adversarial = self.step >= self.recipe.pixel_steps
        if adversarial:
            self.judge.requires_grad_(False)
            realism = self.judge(high_frequencies(output))
            loss = loss + self.recipe.adversarial * F.softplus(-realism).mean()
        if adversarial and self.recipe.ldl:
            with torch.no_grad():
                smoothed = forward(self.average.module, self.recipe, inputs)
            weights = artifact_map(output, targets, smoothed)
            loss = loss + self.recipe.ldl * ((output - targets).abs() * weights).mean()
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        if adversarial:
            self._teach_judge(output.detach(), targets)
        self.step += 1
        self._schedule.step()
        self.average.update_parameters(self.network)
        return float(pixel_loss.detach())

    def _pixel_loss(self, output: Tensor, targets: Tensor) -> Tensor:
        difference = output - targets
        gradients = difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
        spectrum = torch.fft.rfft2(difference, norm="ortho").abs().mean()
        loss: Tensor = difference.abs().mean() + self.recipe.gradient * gradients + self.recipe.frequency * spectrum
        return loss

    def _teach_judge(self, output: Tensor, targets: Tensor) -> None:
        self.judge.requires_grad_(True)
        loss = F.softplus(-self.judge(high_frequencies(targets))).mean()
        loss = loss + F.softplus(self.judge(high_frequencies(output))).mean()
        self.judge_optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        for group in self.judge_optimiser.param_groups:
            group["lr"] = self.optimiser.param_groups[0]["lr"]
        self.judge_optimiser.step()

    def save(self) -> None:
        """Write the checkpoints, the averaged weights and their description."""
        super().save()
        with atomic_write(self.folder / "discriminator.pt") as temporary:
            torch.save(
                {"network": self.judge.state_dict(), "optimiser": self.judge_optimiser.state_dict()}, temporary
            )


@torch.no_grad()
def clean_input_targets(network: nn.Module, recipe: Recipe, photos: Tensor) -> Tensor:
    """A network's results for reduced photos, (B, 3, H, W), with the photos' mean colours in blocks of 8 pixels.

    They have no more detail anywhere than the photos, so areas out of focus stay so. Grey photos stay grey.
    """
    small = F.interpolate(photos, scale_factor=1 / recipe.scale, mode="bicubic", antialias=True).clamp(0, 1)
    result = forward(network, recipe, small)
    is_grey = (photos.amax(1) - photos.amin(1)).amax((1, 2)) < 1 / 255
    result = torch.where(is_grey[:, None, None, None], result.mean(1, keepdim=True), result)
    details, own = (pixels - _smooth(pixels) for pixels in (result, photos))
    surplus = 1 - (_smooth(own.square()).sqrt() / (_smooth(details.square()).sqrt() + 1e-3)).clamp(max=1)
    result = result - surplus * details
    error = F.avg_pool2d(photos - result, COLOUR_BLOCK)
    return (result + F.interpolate(error, scale_factor=COLOUR_BLOCK, mode="bilinear")).clamp(0, 1)


def _smooth(pixels: Tensor) -> Tensor:
    """Local means of (B, C, H, W)."""
    return F.avg_pool2d(pixels, SMOOTHED, 1, SMOOTHED // 2, count_include_pad=False)


def without_blocks(state: Mapping[str, Tensor], kept: Sequence[int]) -> dict[str, Tensor]:
    """The weights of an RRDBNet that has only the `kept` residual blocks of another one, in the order given.

    A residual block adds only a little to its input, so the remaining network still works.
    """
    trunk = "model.1.sub."
    numbers = [int(name.removeprefix(trunk).split(".")[0]) for name in state if name.startswith(trunk)]
    blocks = {old: new for new, old in enumerate((*kept, max(numbers)))}
    result = {}
    for name, value in state.items():
        if not name.startswith(trunk):
            result[name] = value
            continue
        number, rest = name.removeprefix(trunk).split(".", 1)
        if int(number) in blocks:
            result[f"{trunk}{blocks[int(number)]}.{rest}"] = value
    return result


def figures_of(network: nn.Module, recipe: Recipe, inputs: Bytes, targets: Bytes) -> dict[str, float]:
    """PSNR of a network to the targets, and its high frequencies as a share of the targets'."""
    squares, own, teachers = [], [], []
    device = next(network.parameters()).device
    with torch.inference_mode():
        for index in range(min(MEASURED_PAIRS, len(inputs))):
            given, answer = (_as_tensor(part[index : index + 1]).to(device) for part in (inputs, targets))
            output = forward(network, recipe, given).clamp(0, 1)
            squares.append(float((output - answer).square().mean()))
            own.append(float(high_frequencies(output).abs().mean()))
            teachers.append(float(high_frequencies(answer).abs().mean()))
    psnr = float(np.mean([-10 * math.log10(max(value, 1e-10)) for value in squares]))
    return {"psnr_to_targets": round(psnr, 3), "high_frequencies": round(sum(own) / sum(teachers), 3)}


def high_frequencies(pixels: Tensor) -> Tensor:
    """High frequencies, (B, 3, H, W): the picture minus its 5x5 binomial blur."""
    weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=pixels.device) / 16
    channels = pixels.shape[1]
    padded = F.pad(pixels, (2, 2, 2, 2), mode="reflect")
    blurred = F.conv2d(padded, weights.view(1, 1, 1, 5).repeat(channels, 1, 1, 1), groups=channels)
    return pixels - F.conv2d(blurred, weights.view(1, 1, 5, 1).repeat(channels, 1, 1, 1), groups=channels)


def artifact_map(output: Tensor, targets: Tensor, smoothed: Tensor) -> Tensor:
    """Weights of likely artifacts, (B, 1, H, W): local variance of the residual, 0 where the average's is larger."""
    residual = (output.detach() - targets).abs().sum(1, keepdim=True)
    of_average = (smoothed - targets).abs().sum(1, keepdim=True)
    padded = F.pad(residual, (3, 3, 3, 3), mode="reflect")
    mean = F.avg_pool2d(padded, 7, 1)
    variance = (F.avg_pool2d(padded.square(), 7, 1) - mean.square()).clamp(min=0)
    whole = residual.var(dim=(-3, -2, -1), keepdim=True) ** 0.2
    return torch.where(residual < of_average, torch.zeros_like(residual), whole * variance)


class UNetDiscriminator(nn.Module):
    """The discriminator of Real-ESRGAN with two downsamplings: a U-Net with spectral norm, one value per pixel."""

    def __init__(self, features: int) -> None:
        super().__init__()
        widths = [features, 2 * features, 4 * features]
        self.initial = nn.Conv2d(3, features, 3, padding=1)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, 2, 1, bias=False)) for a, b in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(b, a, 3, padding=1, bias=False)) for a, b in itertools.pairwise(widths)
        )
        self.last = nn.Sequential(
            spectral_norm(nn.Conv2d(features, features, 3, padding=1, bias=False)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(features, 1, 3, padding=1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """High frequencies (B, 3, H, W) -> (B, 1, H, W): positive where they look like the targets'."""
        with bfloat16_where_fast(pixels.device):
            return self._realism(pixels).float()

    def _realism(self, pixels: Tensor) -> Tensor:
        levels = [F.leaky_relu(self.initial(pixels), 0.2)]
        for layer in self.down:
            levels.append(F.leaky_relu(layer(levels[-1]), 0.2))
        result = levels.pop()
        for layer in reversed(self.up):
            larger = F.interpolate(result, scale_factor=2, mode="bilinear", align_corners=False)
            result = F.leaky_relu(layer(larger), 0.2) + levels.pop()
        realism: Tensor = self.last(result)
        return realism


if __name__ == "__main__":
    main()
