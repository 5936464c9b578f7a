"""Pixel art is known by its grid and its few colours, and nothing else is taken for it."""

from __future__ import annotations

import pytest
import torch

from imaging import pixels as storage
from imaging.image import Image
from imaging.pixel_art import dots_enlarged, is_pixel_art


def sprite() -> torch.Tensor:
    """12x16 dots of 8 colours."""
    palette = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    return palette[torch.randint(0, 8, (12, 16), generator=torch.Generator().manual_seed(1))].permute(2, 0, 1)


@pytest.mark.parametrize("dot", [2, 3, 8])
def test_dots_on_a_grid_are_pixel_art_and_stay_it_when_enlarged(dot: int, monkeypatch: pytest.MonkeyPatch) -> None:
    art = dots_enlarged(sprite(), dot)
    assert is_pixel_art(art)
    assert is_pixel_art(dots_enlarged(art, 2))
    monkeypatch.setattr(storage, "CHUNK_PIXELS", 5 * art.shape[-1])
    assert is_pixel_art(art)
    moved = art.clone()
    moved[:, 5, 7] = 0.123  # one pixel off the grid
    assert not is_pixel_art(moved)


def test_photos_pages_and_plain_areas_are_no_pixel_art(photo: Image) -> None:
    assert not is_pixel_art(photo.pixels)
    assert not is_pixel_art(dots_enlarged(photo.pixels[:, :64, :64], 2))  # a photo that was enlarged badly
    assert not is_pixel_art(torch.full((3, 64, 64), 0.5))
    halves = torch.zeros(3, 64, 64)
    halves[:, :, 32:] = 1
    assert not is_pixel_art(halves)
    assert not is_pixel_art(sprite())  # dots of one pixel: too little is known
