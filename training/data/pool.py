"""A pool of training pairs in the memory of a GPU, which consumes patches faster than the CPU can degrade them.

Processes continuously make regions larger than a patch, which replace the oldest ones, and batches are cut out of the
regions on the device.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.deconvolution_pairs import SIDE as DECONVOLUTION_SIDE
from training.data.deconvolution_pairs import deconvolution_pair, deconvolution_patch
from training.data.loading import Bytes, load_photos, random_patch, random_photos
from training.data.pairs import degrader
from training.recipe import Recipe

Halves = NDArray[np.float16]

SIDE = 256
"""Side of the target of a region in pixels."""
SIZE = 8192
"""Number of regions: 6 GB with their targets, 10 GB with a classical expert as preprocessor."""
AT_FIRST = 256
"""Regions that are made before the first batch is drawn."""
GRID = 8
"""Patches begin at its multiples, so that the alignment of JPEG blocks is kept."""


class Pool:
    """Regions of degraded photos and their targets on a device, with the processes that make them."""

    def __init__(
        self, recipe: Recipe, files: list[Path], cache: Path, device: torch.device, workers: int, size: int = SIZE
    ) -> None:
        side = DECONVOLUTION_SIDE if recipe.preprocessor else SIDE
        self.recipe = recipe
        self.inputs = torch.empty(
            (size, side // recipe.scale, side // recipe.scale, 3), dtype=torch.half, device=device
        )
        self.targets = torch.empty((size, side, side, 3), dtype=torch.half, device=device)
        self.count = 0
        self._rng = np.random.default_rng(recipe.seed)
        self._processes = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _begin, (recipe, files, cache)
        )
        self._asked: deque[Future[tuple[Halves, Halves]]] = deque()
        self._ahead = 4 * workers
        self._least = min(AT_FIRST, size)

    def batches(self, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless batches: (B, 3, h, w) inputs and (B, 3, H, W) targets, float32 in [0, 1]."""
        self._rng = np.random.default_rng([self.recipe.seed, first])
        number = first * self.recipe.batch
        try:
            while True:
                while len(self._asked) < self._ahead:
                    self._asked.append(self._processes.submit(_make, number))
                    number += 1
                if self.count < self._least or self._asked[0].done():
                    self._store(*self._asked.popleft().result())
                if self.count >= self._least:
                    yield self._draw()
        finally:
            self._processes.shutdown(wait=False, cancel_futures=True)

    def _store(self, given: Halves, target: Halves) -> None:
        place = self.count % len(self.targets)
        self.inputs[place] = torch.from_numpy(given).to(self.inputs.device)
        self.targets[place] = torch.from_numpy(target).to(self.targets.device)
        self.count += 1

    def _draw(self) -> tuple[Tensor, Tensor]:
        side, scale, patch = self.targets.shape[1], self.recipe.scale, self.recipe.patch
        places = self._rng.integers(min(self.count, len(self.targets)), size=self.recipe.batch)
        corners = GRID * self._rng.integers((side - patch) // GRID + 1, size=(2, self.recipe.batch))
        return _cut(self.inputs, places, corners // scale, patch // scale), _cut(self.targets, places, corners, patch)


def _cut(regions: Tensor, places: NDArray[np.int64], corners: NDArray[np.int64], side: int) -> Tensor:
    """(B, 3, side, side) patches of (N, h, w, 3) regions, channels last in memory."""
    where, (tops, lefts) = torch.from_numpy(places), torch.from_numpy(corners)
    along = torch.arange(side)
    rows, columns = (start[:, None] + along for start in (tops, lefts))
    where, rows, columns = (index.to(regions.device, non_blocking=True) for index in (where, rows, columns))
    return regions[where[:, None, None], rows[:, :, None], columns[:, None, :]].float().permute(0, 3, 1, 2)


_photos: list[Bytes] = []
_recipes: list[Recipe] = []


def _begin(recipe: Recipe, files: list[Path], cache: Path) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _recipes[:] = [recipe]
    _photos[:] = load_photos(files, cache)


def _make(number: int) -> tuple[Halves, Halves]:
    """The region of that number and its target, (h, w, 3) and (H, W, 3)."""
    [recipe] = _recipes
    if recipe.preprocessor:
        given, target = deconvolution_pair(deconvolution_patch(_photos, recipe, number), np.random.default_rng())
    else:
        rng = np.random.default_rng([recipe.seed, number])
        [photo] = random_photos(_photos, 1, rng)
        given, target = degrader(recipe.degrade, recipe.scale)(random_patch(photo, SIDE, rng), rng)
    return given.astype(np.float16), target.astype(np.float16)
