"""Train the network of the transmission map (toolbox/classical/transmission_map.py) on hazy and on unchanged photos.

Most photos have other degradations too. The network gets the features of the degraded photo; the loss is measured
without the other degradations.

    python -m training.fits.transmission_map --data DATA [--samples 14000] \\
        [--output toolbox/classical/transmission_map.safetensors]

One photo in five, by name, is held out; the gain on these is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from imaging.convert import FloatArray
from toolbox.classical.dehazing import air_light
from toolbox.classical.transmission_map import CLEAR, LEAST_TRANSMISSION, THUMBNAIL, WEIGHTS, transmission_features
from toolbox.tasks import Degradation
from training.data.mixed_degradations import degradation_stages
from training.fits.perceptron import fit, gain, patch, save, small, small_photos

UNTOUCHED = 0.25
"""Share of photos without haze."""
PLAIN = 0.3
"""Share of uniform images among these, which must stay unchanged."""
LARGEST = 3 * THUMBNAIL
"""Long side of the photos when they are degraded, before the reduction to thumbnails."""
PIXELS = 192
"""Number of pixels of each photo in the loss."""
EPOCHS = 25
BATCH = 64
HIDDEN = 192


def draw(pictures: Sequence[FloatArray], count: int, seed: int) -> list[Tensor]:
    """Features (n, PIXELS, k), hazy pixels, air light (n, 1, 3) and true pixels (n, PIXELS, 3)."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[FloatArray, FloatArray, FloatArray, FloatArray]] = []
    for _ in range(count):
        clean, untouched = patch(pictures, rng), rng.random() < UNTOUCHED
        if untouched and rng.random() < PLAIN:
            clean = np.broadcast_to(rng.random((1, 1, 3), np.float32) ** np.float32(0.3), clean.shape).copy()
        stages = degradation_stages(clean, Degradation.HAZE, rng, happens=not untouched)
        degraded, hazy, truth = (small(part, THUMBNAIL) for part in (stages.degraded, stages.with_it, stages.without))
        chosen = rng.integers(degraded.shape[0] * degraded.shape[1], size=PIXELS)
        features = transmission_features(degraded)
        rows.append(
            (
                features.reshape(-1, features.shape[2])[chosen],
                hazy.reshape(-1, 3)[chosen],
                air_light(degraded)[None],
                truth.reshape(-1, 3)[chosen],
            )
        )
    return [torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)]


def cleared(network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    """The dehazed pixels: a differentiable `learned_transmission_map` without smoothing."""
    features, hazy, haziest = batch
    logits = network(features)
    transmission = torch.sigmoid(logits[:, :, :1] + CLEAR).clamp(min=LEAST_TRANSMISSION)
    air = haziest + 0.3 * torch.tanh(logits[:, :, 1:].mean(1, keepdim=True))
    return ((hazy - air) / transmission + air).clamp(-0.1, 1.1)


def main() -> None:
    """Draw, train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=14_000)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    learned, measured = small_photos(arguments.data, LARGEST)
    samples = draw(learned, arguments.samples, arguments.seed)
    steps = EPOCHS * arguments.samples // BATCH
    network = fit(samples, 2, cleared, steps, BATCH, arguments.seed, hidden=HIDDEN)
    unseen = draw(measured, 800, arguments.seed + 1)
    before, after = gain(network, unseen, unseen[1], cleared)
    print(f"held-out photos that were hazed: {before:.2f} -> {after:.2f} dB")
    save(network, arguments.output)


if __name__ == "__main__":
    main()
