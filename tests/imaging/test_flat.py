"""What is one colour stays so when it is enlarged, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from imaging import pixels as storage
from imaging.flat import TOLERANCE, flat_share, keep_flat


@pytest.mark.parametrize("scale", [2, 4])
def test_flat_areas_keep_their_colour_and_edges_are_left_to_the_network(
    scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = torch.full((3, 30, 40), 0.9)
    page[:, :, 20:] = 0.1
    enlarged = page.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    ghosts = enlarged + 0.1 * torch.rand(enlarged.shape, generator=torch.Generator().manual_seed(0)) - 0.05
    result = keep_flat(ghosts, page)
    assert float((result - enlarged).abs().max()) <= TOLERANCE + 0.05
    away = torch.ones(40 * scale, dtype=torch.bool)
    away[19 * scale : 21 * scale] = False
    assert float((result - enlarged)[..., away].abs().max()) <= TOLERANCE + 1e-6
    # At the edge the network decides, between the two colours.
    assert float(result.max()) <= 0.9 + TOLERANCE + 1e-6
    assert float(result.min()) >= 0.1 - TOLERANCE - 1e-6
    between = (ghosts <= 0.9) & (ghosts >= 0.1)
    between[..., away] = False
    assert torch.equal(result[between], ghosts[between])
    monkeypatch.setattr(storage, "CHUNK_PIXELS", 7 * 40 * scale)  # rows of a chunk that cut input pixels in two
    assert torch.equal(keep_flat(ghosts, page), result)


@pytest.mark.parametrize(("paper", "ink"), [(0.9, 0.4), (0.2, 0.7)])
def test_letters_get_no_halos_and_may_become_stronger(paper: float, ink: float) -> None:
    """A network sharpens thin grey strokes, which is wanted, and beside them the paper, which is not."""
    page = torch.full((3, 24, 24), paper)
    page[:, 4:20, 12] = ink
    enlarged = page.repeat_interleave(4, 1).repeat_interleave(4, 2)
    sharpened = enlarged.clone()
    halo, stroke = (0.08 if paper > ink else -0.08), (-0.2 if paper > ink else 0.2)
    sharpened[:, 16:80, 44:56] += halo
    sharpened[:, 16:80, 48:52] = ink + stroke
    result = keep_flat(sharpened, page)
    assert float((result - paper).abs()[:, :, :48].max()) <= TOLERANCE + 1e-6
    assert torch.equal(result[:, 16:80, 48:52], sharpened[:, 16:80, 48:52])


def test_photos_and_gradients_stay_as_they_are() -> None:
    photo = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(1))
    enlarged = photo.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert keep_flat(enlarged, photo) is enlarged
    steps = (torch.arange(400).div(10).floor() / 255).expand(3, 8, 400)
    smooth = (torch.arange(800).div(20) - 0.5).div(255).clamp(0).expand(3, 16, 800)
    assert torch.equal(keep_flat(smooth, steps), smooth)


def test_the_share_of_flat_pixels_does_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    page = torch.full((3, 42, 42), 0.9)
    page[:, :, 22:] = torch.rand(3, 42, 20, generator=torch.Generator().manual_seed(0))
    whole = flat_share(page)
    assert whole == 0.5
    monkeypatch.setattr(storage, "CHUNK_PIXELS", 42)
    assert flat_share(page) == whole
