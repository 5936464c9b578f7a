"""Colours are aligned where they drifted, and left alone where they did not."""

from __future__ import annotations

import doctest

import cv2
import pytest
import torch

import imaging.colour
from imaging.colour import align_low_frequencies, luma
from imaging.convert import to_numpy
from imaging.image import Image
from imaging.resizing import resize


def test_the_examples_of_the_documentation_hold() -> None:
    result = doctest.testmod(imaging.colour)
    assert result.attempted > 0
    assert result.failed == 0


def test_luma_is_that_of_opencv(photo: Image) -> None:
    rgb = to_numpy(photo.pixels)
    assert abs(luma(rgb) - cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)).max() < 1e-5


def test_a_picture_aligned_to_itself_stays(photo: Image) -> None:
    assert float((align_low_frequencies(photo.pixels, photo.pixels) - photo.pixels).abs().max()) < 1e-4


def test_a_colour_cast_is_taken_back(photo: Image) -> None:
    middle = photo.pixels * 0.6 + 0.2
    cast = middle + torch.tensor([0.1, -0.05, 0.08])[:, None, None]
    small = resize(middle, 128, 128)
    before, after = (cast - middle).abs().mean(), (align_low_frequencies(cast, small) - middle).abs().mean()
    assert float(after) < 0.2 * float(before)


def test_a_cast_that_differs_from_place_to_place_is_taken_back(photo: Image) -> None:
    middle = photo.pixels * 0.6 + 0.2
    cast = middle + torch.linspace(-0.15, 0.15, 512)
    aligned = align_low_frequencies(cast, resize(middle, 256, 256))
    assert float((aligned - middle).abs().mean()) < 0.15 * float((cast - middle).abs().mean())


def test_detail_of_the_result_is_kept_by_low_frequencies(photo: Image) -> None:
    """The reference is blurred; the aligned picture is not."""
    blurred = resize(resize(photo.pixels, 64, 64), 512, 512)
    aligned = align_low_frequencies(photo.pixels, blurred)
    assert float((aligned - photo.pixels).abs().mean()) < 0.3 * float((blurred - photo.pixels).abs().mean())


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_odd_sizes_stay_finite_and_in_range(size: tuple[int, int]) -> None:
    aligned = align_low_frequencies(torch.rand(3, *size), torch.rand(3, 2 * size[0], 2 * size[1]))
    assert aligned.shape == (3, *size)
    assert bool(aligned.isfinite().all())
    assert float(aligned.min()) >= 0
    assert float(aligned.max()) <= 1
