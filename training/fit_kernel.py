"""Trains the network that sees the kernel of motion blur (toolbox/classical/kernel_network.py).

    python -m training.fit_kernel --data DATA/train [--minutes 30] [--output toolbox/classical/kernel.safetensors]

On patches of photos blurred by the synthesiser, some of them noisy or compressed afterwards. Cross-entropy between
the kernel and the true one in its true place; symmetric kernels lie in the middle. One photo in five is held out; the
mean cosine between kernels there is printed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from imaging.convert import FloatArray, to_float
from toolbox.classical.filters import luma
from toolbox.classical.kernel_network import PATCH, REACH, SIDE, WEIGHTS, KernelNetwork, standardised
from training.data import Bytes, load_photo, load_photos, photo_files, split
from training.degradations import convolve, gaussian_noise, half_gaussian_kernel, jpeg, line_kernel, path_kernel

BATCH = 32
RATE = 1e-3
KEEP = 0.999
HELD_OUT = 256


def draw_kernel(rng: np.random.Generator) -> FloatArray:
    """(k, k): as `training.degradations.blur_by_motion` draws them, and none at all now and then."""
    strength, chance = float(rng.random()), rng.random()
    length = 3 + 24 * strength
    if chance < 0.05:
        return np.ones((1, 1), np.float32)
    if chance < 0.35:
        return line_kernel(length, float(rng.uniform(0, 180)), float(rng.uniform(0, 1)))
    if chance < 0.7:
        return half_gaussian_kernel(0.6 + 7.4 * strength, float(rng.uniform(0, 360)))
    return path_kernel(length, rng)


def squared(kernel: FloatArray) -> FloatArray:
    """(47, 47): cut off or filled up, sum 1."""
    full = np.zeros((SIDE, SIDE), np.float32)
    reach = kernel.shape[0] // 2
    inner = min(reach, REACH)
    cut = kernel[reach - inner : reach + inner + 1, reach - inner : reach + inner + 1]
    full[REACH - inner : REACH + inner + 1, REACH - inner : REACH + inner + 1] = cut
    return np.asarray(full / full.sum(), np.float32)


def draw(photos: list[Bytes], rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """A standardised patch (128, 128) and its kernel (47, 47)."""
    kernel = draw_kernel(rng)
    margin = kernel.shape[0] // 2 + 1
    side = PATCH + 2 * margin
    photo = to_float(photos[int(rng.integers(len(photos)))])
    shrink = float(rng.uniform(0.6, 1))
    photo = cv2.resize(photo, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 0.9 else photo
    height, width = photo.shape[:2]
    top, left = (int(rng.integers(max(1, size - side + 1))) for size in (height, width))
    patch = np.rot90(photo[top : top + side, left : left + side], int(rng.integers(4)))
    blurred = convolve(np.ascontiguousarray(patch), kernel)[margin : margin + PATCH, margin : margin + PATCH]
    below, right = (max(0, PATCH - size) for size in blurred.shape[:2])
    blurred = np.pad(blurred, ((0, below), (0, right), (0, 0)), mode="symmetric")
    if rng.random() < 0.4:
        blurred = gaussian_noise(blurred, rng, float(rng.uniform(0, 6)))
    blurred = np.clip(blurred, 0, 1).astype(np.float32)
    if rng.random() < 0.3:
        blurred = jpeg(blurred, int(rng.integers(40, 96)))
    return standardised(luma(np.round(blurred * 255) / np.float32(255))), squared(kernel)


def batch_of(photos: list[Bytes], rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """(n, 1, 128, 128) and (n, 47 * 47)."""
    pairs = [draw(photos, rng) for _ in range(count)]
    patches, kernels = (np.stack(column) for column in zip(*pairs, strict=True))
    return torch.from_numpy(patches[:, None]), torch.from_numpy(kernels.reshape(count, -1))


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("build"))
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    files, held_out = split(photo_files(arguments.data / "photo"))
    arguments.cache.mkdir(parents=True, exist_ok=True)
    photos = load_photos(files, cache=arguments.cache)
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    network = KernelNetwork().to(memory_format=torch.channels_last)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    unseen = batch_of([load_photo(file) for file in held_out], np.random.default_rng(1), HELD_OUT)
    began, step = time.monotonic(), 0
    while (progress := (time.monotonic() - began) / (60 * arguments.minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 200) * max(0.01, 0.5 * (1 + np.cos(np.pi * progress)))
        patches, kernels = batch_of(photos, rng, BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(patches)
        loss = -(kernels * torch.log_softmax(logits.float(), 1)).sum(1).mean()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        for name, value in network.state_dict().items():
            average[name].lerp_(value.detach(), 1 - min(KEEP, (1 + step) / (10 + step)))
        step += 1
        if step % 250 == 0:
            print(f"{step} steps, {100 * progress:.0f} %: cosine {_cosine(average, unseen):.3f}", flush=True)
            _save(average, arguments.output)
    _save(average, arguments.output)
    print(f"held out: cosine {_cosine(average, unseen):.3f} after {step} steps")


@torch.inference_mode()
def _cosine(state: dict[str, Tensor], unseen: tuple[Tensor, Tensor]) -> float:
    network = KernelNetwork().eval()
    network.load_state_dict(state)
    kernels = torch.softmax(network(unseen[0]), 1)
    return float(torch.nn.functional.cosine_similarity(kernels, unseen[1]).mean())


def _save(state: dict[str, Tensor], file: Path) -> None:
    save_file({name: value.half().contiguous() for name, value in state.items()}, file)


if __name__ == "__main__":
    main()
