"""Crops: the same places at every scale, spread over the picture, where something happens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imaging.convert import FloatArray, from_numpy
from imaging.image import Image
from iqa.crops import CROP, GRID, crops_of, cut


@pytest.fixture(scope="module")
def large(photos: dict[str, FloatArray]) -> Image:
    return Image(from_numpy(np.tile(photos["astronaut"], (4, 5, 1))))


def test_there_is_one_crop_in_each_cell_of_the_grid(large: Image) -> None:
    cells = {
        (int(GRID * (box.top + box.bottom) / 2), int(GRID * (box.left + box.right) / 2)) for box in crops_of(large)
    }
    assert len(cells) == GRID * GRID


def test_crops_of_a_large_picture_have_the_full_size_and_lie_inside(large: Image) -> None:
    for box in crops_of(large):
        assert 0 <= box.left < box.right <= 1
        assert 0 <= box.top < box.bottom <= 1
        assert cut(large, box).shape[1:] == pytest.approx((CROP, CROP), abs=8)


def test_a_crop_is_the_same_place_at_every_scale(large: Image) -> None:
    doubled = Image(large.pixels.repeat_interleave(2, 1).repeat_interleave(2, 2))
    for box in crops_of(large):
        small, big = cut(large, box), cut(doubled, box)
        assert big.shape[1] <= CROP
        inside = small[:, 72:-72, 72:-72].mean((1, 2))
        assert torch.allclose(big.mean((1, 2)), inside, atol=0.08)


def test_crops_lie_on_texture_and_the_most_textured_comes_first() -> None:
    pixels = torch.full((3, 1800, 1800), 0.5)
    pixels[:, 300:550, 250:500] = torch.rand(3, 250, 250)
    pixels[:, 1400:1700, 1400:1700] = 0.5 + 0.2 * torch.rand(3, 300, 300)
    first, second, *_ = crops_of(Image(pixels))
    assert first.left < 250 / 1800
    assert first.right > 500 / 1800
    assert first.top < 300 / 1800
    assert first.bottom > 550 / 1800
    assert second.left > 2 / 3
    assert second.top > 2 / 3


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 400), (37, 20), (250, 333)])
def test_crops_of_small_pictures_cover_them(height: int, width: int) -> None:
    image = Image(torch.rand(3, height, width))
    crops = [cut(image, box) for box in crops_of(image)]
    assert all(crop.numel() for crop in crops)
    assert sum(crop[0].numel() for crop in crops) >= 0.8 * height * width


def test_a_crop_can_begin_on_a_grid(large: Image) -> None:
    marked = Image(torch.arange(large.width).expand(3, large.height, -1) % 8 / 8)
    assert all(cut(marked, box, multiple_of=8)[0, 0, 0] == 0 for box in crops_of(large))
