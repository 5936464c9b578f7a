"""The embedded weights are small, documented and useful."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from imaging.convert import from_numpy, to_float
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from iqa.metrics.psnr import psnr
from toolbox.card import ExpertCard
from toolbox.catalogue import default_catalogue
from toolbox.expert import load_expert, run_expert
from toolbox.network import WEIGHTS
from toolbox.tasks import Task
from training.data.pairs import kinds
from training.recipe import load_recipe

ROOT = Path(__file__).parents[2]
SHIPPED = [card for card in default_catalogue() if card.loader == "spandrel" and card.source.startswith("training/")]
MOST_BYTES = 60 * 1000 * 1000
WHOLE = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
PATCHES = [WHOLE[0][0:192, 150:342], WHOLE[1][100:292, 150:342], WHOLE[2][60:252, 110:302]]

shipped_networks = pytest.mark.parametrize("shipped", SHIPPED, ids=lambda card: card.name)


def test_all_weights_together_stay_within_the_limit() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.glob("*.safetensors")) <= MOST_BYTES


def test_every_weight_file_is_used_by_a_card_and_documents_its_training() -> None:
    assert {file.name for file in WEIGHTS.glob("*.safetensors")} == {card.weights for card in SHIPPED}
    for file in WEIGHTS.glob("*.safetensors"):
        record = json.loads(file.with_suffix(".json").read_text("utf-8"))
        assert record["steps_done"] > 0
        assert record["recipe"]["name"] == file.stem


@shipped_networks
def test_a_grey_image_stays_grey(shipped: ExpertCard) -> None:
    grey = Image(torch.full((3, 48, 48), 0.5))
    means = run_expert(load_expert(shipped), grey, ProgressToken()).pixels.mean((1, 2))
    assert float(means.max() - means.min()) < 0.05


FAITHFUL_STAND_INS = [card for card in SHIPPED if card.stands_in_for and card.preference != "perception"]


@pytest.mark.parametrize("shipped", FAITHFUL_STAND_INS, ids=lambda card: card.name)
def test_a_network_that_stands_in_for_another_gives_its_result_on_enlarged_pictures(shipped: ExpertCard) -> None:
    other, first = (
        load_expert(default_catalogue().card(name)) for name in (shipped.stands_in_for, "restore4k_sr_x2")
    )
    distances = []
    for patch in PATCHES:
        small = resize(from_numpy(to_float(patch)), 48, 48).clamp(0, 1)
        enlarged = run_expert(first, Image(small), ProgressToken())
        fast, slow = (run_expert(one, enlarged, ProgressToken()) for one in (load_expert(shipped), other))
        distances.append(psnr(fast, slow))
    assert min(distances) > 35


@pytest.mark.parametrize("shipped", [card for card in SHIPPED if not card.stands_in_for], ids=lambda card: card.name)
def test_a_network_raises_the_psnr_of_degraded_photos(shipped: ExpertCard) -> None:
    recipe = load_recipe(ROOT / shipped.source)
    kind = recipe.degrade if shipped.task is Task.SUPER_RESOLUTION else shipped.task.degradation
    make, expert = kinds(recipe.degrade, shipped.scale)[kind], load_expert(shipped)
    # How a camera moved cannot be read from a small piece.
    photos, gains = WHOLE if shipped.task is Task.MOTION_DEBLURRING else PATCHES, []
    for number, patch in enumerate(photos):
        degraded, clean = (Image(from_numpy(part)) for part in make(patch, np.random.default_rng(number)))
        enlarged = degraded.with_pixels(resize(degraded.pixels, clean.height, clean.width).clamp(0, 1))
        gains.append(psnr(run_expert(expert, degraded, ProgressToken()), clean) - psnr(enlarged, clean))
    assert np.mean(gains) > 0.2


@shipped_networks
def test_tiles_leave_no_seam(shipped: ExpertCard) -> None:
    small = shipped.model_copy(update={"tile": 96})
    photo = Image(from_numpy(skimage.data.coffee()[100:292, 150:342].astype(np.float32) / 255))
    tiled, whole = (run_expert(load_expert(card), photo, ProgressToken()).pixels for card in (small, shipped))
    assert float((tiled - whole).abs().max()) < 0.5 / 255
