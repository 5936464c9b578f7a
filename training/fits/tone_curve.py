"""Train the network of the tone curve (toolbox/classical/tone_curve.py) on darkened and on unchanged photos.

Most photos have other degradations too. The network gets the features of the degraded photo; the loss is measured
without the other degradations.

    python -m training.fits.tone_curve --data DATA [--samples 108000] \\
        [--output toolbox/classical/tone_curve.safetensors]

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
from toolbox.classical.tone_curve import KNOTS, STEEPEST, THUMBNAIL, WEIGHTS, tone_curve_features
from toolbox.tasks import Degradation
from training.data.mixed_degradations import degradation_stages
from training.fits.perceptron import fit, gain, joined, patch, save, small_photos

UNTOUCHED = 0.25
"""Share of photos that are not darkened."""
PIXELS = 256
"""Number of pixels of each photo in the loss."""
EPOCHS = 40
BATCH = 256
HIDDEN, DROPPED = (96, 192, 256), 0.05
"""Hidden units of the networks whose curves are averaged, which gains 0.3 dB over one network, and their dropout."""


def draw(pictures: Sequence[FloatArray], count: int, seed: int) -> list[Tensor]:
    """Features (n, 40), V (n, PIXELS, 1) of that many darkened photos, and V of the originals."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    for _ in range(count):
        stages = degradation_stages(patch(pictures, rng), Degradation.DARK, rng, happens=rng.random() >= UNTOUCHED)
        chosen = rng.integers(stages.degraded.shape[0] * stages.degraded.shape[1], size=PIXELS)
        values, truth = (part.max(axis=2).reshape(-1, 1)[chosen] for part in (stages.with_it, stages.without))
        rows.append((tone_curve_features(stages.degraded), values, truth))
    return [torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)]


def raised(network: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    """V after the predicted curve: a differentiable `tone_curve_of` with linear interpolation."""
    features, values = batch[0], batch[1][:, :, 0]
    answers = network(features).reshape(len(features), -1, KNOTS)
    rises = torch.exp(answers.clamp(-STEEPEST, STEEPEST)) / (KNOTS - 1)
    rises = torch.cat([rises[:, :, :1] - 1 / (KNOTS - 1), rises[:, :, 1:]], dim=2)
    curve = rises.cumsum(2).clamp(0, 1).mean(1)
    place = values * (KNOTS - 1)
    below = place.floor().clamp(max=KNOTS - 2)
    low, high = curve.gather(1, below.long()), curve.gather(1, below.long() + 1)
    return (low + (high - low) * (place - below))[:, :, None]


def main() -> None:
    """Draw, train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=108_000)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    learned, measured = small_photos(arguments.data, 2 * THUMBNAIL)
    samples = draw(learned, arguments.samples, arguments.seed)
    steps = EPOCHS * arguments.samples // BATCH
    networks = [
        fit(samples, KNOTS, raised, steps, BATCH, arguments.seed + hidden, DROPPED, hidden) for hidden in HIDDEN
    ]
    network = joined(networks)
    unseen = draw(measured, 2000, arguments.seed + 1)
    before, after = gain(network, unseen, unseen[1], raised)
    print(f"held-out photos that were darkened: {before:.2f} -> {after:.2f} dB of V")
    save(network, arguments.output)


if __name__ == "__main__":
    main()
