"""What lies behind full transparency takes the colour of the nearest visible pixel, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imaging import pixels
from imaging.alpha import bleed_alpha
from imaging.image import Image


def places(height: int, width: int) -> torch.Tensor:
    """Colours that say where they come from: row and column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, torch.zeros_like(rows)]).float() / 255


@pytest.fixture
def cut_out() -> Image:
    """Spots of visible pixels, some of them half transparent, among hidden ones."""
    generator = torch.Generator().manual_seed(5)
    alpha = (torch.rand(1, 60, 90, generator=generator) < 0.02).float()
    alpha[:, 20:30, 40:60] = 0.5
    return Image(places(60, 90), alpha, icc_profile=b"profile", bit_depth=16)


@pytest.mark.parametrize("strip", [100, 1_000_000])
def test_a_hidden_pixel_has_the_colour_of_the_nearest_visible_one(
    cut_out: Image, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "CHUNK_PIXELS", strip)
    assert cut_out.alpha is not None
    visible = np.argwhere(cut_out.alpha[0].numpy() > 0)
    taken = np.rint(bleed_alpha(cut_out).pixels[:2].numpy() * 255).astype(int)
    assert {tuple(place) for place in taken.reshape(2, -1).T} <= {tuple(place) for place in visible}
    here = np.stack(np.mgrid[:60, :90])
    distance = np.hypot(*(taken - here))
    least = np.hypot(*(here[..., None] - visible.T[:, None, None])).min(axis=-1)
    assert (distance <= 1.05 * least).all()


def test_visible_pixels_alpha_and_the_given_image_stay_as_they_are(cut_out: Image) -> None:
    assert cut_out.alpha is not None
    filled = bleed_alpha(cut_out)
    visible = cut_out.alpha[0] > 0
    assert torch.equal(filled.pixels[:, visible], cut_out.pixels[:, visible])
    assert filled.alpha is cut_out.alpha
    assert (filled.icc_profile, filled.bit_depth) == (b"profile", 16)
    assert torch.equal(cut_out.pixels, places(60, 90))


@pytest.mark.parametrize("alpha", [None, 0.0, 0.01, 1.0])
def test_fully_visible_and_fully_hidden_images_are_unchanged(alpha: float | None) -> None:
    image = Image(places(9, 9), None if alpha is None else torch.full((1, 9, 9), alpha))
    assert bleed_alpha(image) is image


def test_the_most_distant_pixel_is_filled() -> None:
    alpha = torch.zeros(1, 8, 70_000)
    alpha[:, 0, 0] = 1
    pixels = torch.zeros(3, 8, 70_000)
    pixels[:, 0, 0] = 1
    assert float(bleed_alpha(Image(pixels, alpha)).pixels.min()) == 1
