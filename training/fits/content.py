"""Fit the classifier of content (iqa/content.py) on images labelled by folder, and on synthesised screenshots.

    python -m training.fits.content --data DATA [--output iqa/content.safetensors]

Reads DATA/photo, aerial, medical, and art, whose files are labelled by name. Images are used unchanged and degraded.
One in five, by name, is held out; the accuracy on these is printed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from imaging.convert import from_numpy
from imaging.image import Image
from iqa.content import ContentKind
from iqa.features import extract_features
from training.data.degradation_sampling import draw, single_threaded
from training.data.photos import held_out, others, photos, read_pixels
from training.data.screenshots import screenshot

VIEWS = dict.fromkeys(ContentKind, 12) | {ContentKind.PHOTO: 2, ContentKind.AERIAL: 30, ContentKind.SCREENSHOT: 1}
"""Number of samples of each image, to balance the kinds."""
SCREENS = 500
STEPS = 1500
DECAY = 2e-3
Job = tuple[Path | None, ContentKind, int]


def kind_of(path: Path) -> ContentKind | None:
    """The kind of a training image by its folder and name; None if unknown."""
    folder, name = path.parent.name, path.name
    if folder in ("photo", "face"):
        return ContentKind.PHOTO
    if folder in ("aerial", "medical"):
        return ContentKind(folder)
    if "text" in name or "page" in name:
        return ContentKind.DOCUMENT
    return ContentKind.DRAWING if "syn_line" in name or "kate-hazen" in name else None


def jobs(data: Path) -> Iterator[Job]:
    """Every image with as many seeds as its kind has `VIEWS`."""
    for path in [*photos(data), *others(data)]:
        kind = kind_of(path)
        if kind:
            yield from ((path, kind, seed) for seed in range(VIEWS[kind]))
    yield from ((None, ContentKind.SCREENSHOT, seed) for seed in range(SCREENS))


def _features(job: tuple[Job, Path]) -> tuple[Tensor, int, bool]:
    (path, kind, seed), data = job
    if path is None:
        rng = np.random.default_rng([7, seed])
        pixels, unseen = screenshot(rng, [read_pixels(photos(data)[int(rng.integers(50))])]), seed % 5 == 0
    else:
        rng = np.random.default_rng([seed, len(path.name)])
        pixels, unseen = read_pixels(path), held_out(path)
    image = Image(from_numpy(pixels)) if seed % 2 == 0 else draw(pixels, rng)[0]
    return extract_features(image).network_output.description, list(ContentKind).index(kind), unseen


def fit(rows: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression with equal weight for every kind."""
    torch.manual_seed(0)
    model = torch.nn.Linear(rows.shape[1], len(ContentKind))
    weights = 1 / torch.bincount(kinds, minlength=len(ContentKind)).clamp(min=1).float()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=DECAY)
    for _ in range(STEPS):
        loss = torch.nn.functional.cross_entropy(model(rows), kinds, weights, label_smoothing=0.03)
        penalty = DECAY * model.weight.square().sum()
        optimiser.zero_grad()
        torch.autograd.backward(loss + penalty)
        optimiser.step()
    return model.weight.detach(), model.bias.detach()


def main() -> None:
    """Extract, fit, write, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("iqa/content.safetensors"))
    arguments = parser.parse_args()
    with get_context("spawn").Pool(arguments.workers, initializer=single_threaded) as pool:
        found = pool.map(_features, [(job, arguments.data) for job in jobs(arguments.data)], chunksize=16)
    rows, kinds = torch.stack([row for row, _, _ in found]), torch.tensor([kind for _, kind, _ in found])
    unseen = torch.tensor([is_unseen for _, _, is_unseen in found])
    weight, bias = fit(rows[~unseen], kinds[~unseen])
    save_file({"weight": weight.half(), "bias": bias.half()}, arguments.output)
    predicted = (rows[unseen] @ weight.T + bias).argmax(1)
    for index, kind in enumerate(ContentKind):
        own = kinds[unseen] == index
        print(f"{kind.value:11} {own.sum():4} held out, recognised {(predicted[own] == index).float().mean():.3f}")


if __name__ == "__main__":
    main()
