"""The benchmark of texture enlarges the piece of a photo with the most detail."""

from __future__ import annotations

import torch

from benchmarks.texture import most_detailed
from imaging.image import Image


def test_the_piece_with_the_most_detail_is_found() -> None:
    pixels = torch.full((3, 96, 128), 0.5)
    pixels[:, 40:72, 80:112] = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert most_detailed(Image(pixels), 32) == (40, 80)


def test_of_a_photo_smaller_than_the_piece_all_is_taken() -> None:
    assert most_detailed(Image(torch.rand(3, 20, 30)), 32) == (0, 0)
