"""Tiles and reduced copies change the results of classical experts little, memory-mapped pixels not at all."""

from __future__ import annotations

import os

import numpy as np
import pytest
import skimage.data
import torch

from imaging import pixels
from imaging.convert import FloatArray, from_numpy, to_float
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from toolbox import expert as running
from toolbox.card import ExpertCard
from toolbox.catalogue import default_catalogue
from toolbox.classical import sampling
from toolbox.expert import load_expert, run_expert
from toolbox.tasks import Severity, Task
from training.data.degradations import degrade

CLASSICAL = [
    card for card in default_catalogue() if card.loader == "classical" and card.task is not Task.FACE_RESTORATION
]
NEARLY_LOCAL = {"wavelet_denoise", "tv_denoise", "tv_defocus", "wiener_defocus", "lucy_defocus"} | {
    card.name for card in CLASSICAL if card.task is Task.MOTION_DEBLURRING
}
"""Experts whose pixels all depend slightly on each other."""
PHOTO = to_float(skimage.data.astronaut()[:320, :384])
LOCAL = [card for card in CLASSICAL if card.extent == "local"]
REDUCED = [card for card in CLASSICAL if card.extent == "reduced"]


def bad_photo(card: ExpertCard) -> Image:
    """320x384 pixels with the degradation of the expert's task."""
    seed = np.random.default_rng(1)
    known = card.task not in {Task.SUPER_RESOLUTION, Task.OLD_PHOTO_RESTORATION}
    bad: FloatArray = degrade(PHOTO, card.task.degradation, seed, Severity.MEDIUM)[0] if known else PHOTO
    return Image(from_numpy(np.rint(bad * 255).astype(np.float32) / np.float32(255)))


def restored(card: ExpertCard, image: Image) -> torch.Tensor:
    return run_expert(load_expert(card), image, ProgressToken()).pixels


@pytest.mark.parametrize("card", LOCAL, ids=lambda card: card.name)
def test_tiled_and_whole_results_agree(card: ExpertCard) -> None:
    image = bad_photo(card)
    whole = restored(card.model_copy(update={"tile": 512}), image)
    tiled = restored(card.model_copy(update={"tile": 256 if card.name in NEARLY_LOCAL else 128}), image)
    if card.name in NEARLY_LOCAL:
        assert error(tiled) < 1.25 * error(whole)
    else:
        assert float((whole - tiled).abs().max()) < 1e-5


def error(pixels: torch.Tensor) -> float:
    return float((pixels - from_numpy(PHOTO)).square().mean())


@pytest.mark.parametrize("card", REDUCED, ids=lambda card: card.name)
def test_the_tones_of_a_large_image_are_those_of_its_reduced_copy(
    card: ExpertCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = bad_photo(card)
    small = Image(resize(image.pixels, 160, 192))
    expected = restored(card, small)
    monkeypatch.setattr(running, "REDUCED_PIXELS", 160 * 192)
    found = resize(restored(card, image), 160, 192)
    assert float((found - expected).square().mean()) < 0.1 * float((expected - small.pixels).square().mean())


def test_details_missing_in_the_reduced_copy_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    card = default_catalogue().card("lime_brighten")
    texture = torch.full((3, 256, 256), 0.1)
    texture[:, ::2] += 0.02
    monkeypatch.setattr(running, "REDUCED_PIXELS", 64 * 64)
    result = restored(card, Image(texture))
    before = texture[:, ::2].mean() / texture[:, 1::2].mean()
    after = result[:, ::2].mean() / result[:, 1::2].mean()
    assert float(result.mean()) > 0.2
    assert float(after) == pytest.approx(float(before), abs=0.05)


@pytest.mark.skipif(os.name == "nt", reason="everything lives in memory there")
@pytest.mark.parametrize("card", CLASSICAL, ids=lambda card: card.name)
def test_results_do_not_depend_on_the_memory_budget(card: ExpertCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "REDUCED_PIXELS", 200 * 200)
    monkeypatch.setattr(sampling, "MOST_PIXELS", 300 * 300)
    image = bad_photo(card)
    roomy = restored(card, image)
    monkeypatch.setenv(pixels.MEMORY_VARIABLE, "0.1")
    monkeypatch.setattr(pixels, "SMALLEST_FILE", 0)
    tight = restored(card, Image(pixels.copied(image.pixels)))
    assert torch.equal(tight, roomy)


def test_measurements_on_a_sample_are_close_to_those_on_the_whole_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from toolbox.classical.filters import noise_sigma

    rng = np.random.default_rng(0)
    noisy = to_float(skimage.data.astronaut()) + rng.normal(0, 0.05, (512, 512, 3)).astype(np.float32)
    whole = noise_sigma(noisy)
    monkeypatch.setattr(sampling, "MOST_PIXELS", 400 * 400)
    monkeypatch.setattr(sampling, "WINDOW", 120)
    assert noise_sigma(noisy) == pytest.approx(whole, rel=0.05)
    assert sampling.thinned(noisy).shape == (256, 256, 3)
    assert len(sampling.windows(noisy)) == 9
