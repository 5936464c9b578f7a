"""A network run tile by tile gives what it gives in one piece."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from imaging import transfer
from imaging.errors import Cancelled, ResourceError
from imaging.progress import ProgressToken
from imaging.tiling import run_tiled

BOUND = 1 / 255


def convolutions(depth: int, seed: int = 0) -> nn.Sequential:
    """A network whose receptive field reaches `depth` pixels; edges as in spandrel's networks (zeros)."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(depth)]
    return nn.Sequential(*layers, nn.Sigmoid()).eval()


def photo_like(height: int, width: int) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def untiled(network: nn.Module, pixels: Tensor) -> Tensor:
    with torch.inference_mode():
        result: Tensor = network(pixels[None])[0]
    return result


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tile=st.integers(32, 96),
    depth=st.integers(1, 8),
)
def test_tiles_change_nothing_where_the_receptive_field_fits(height: int, width: int, tile: int, depth: int) -> None:
    network, pixels = convolutions(depth), photo_like(height, width)
    with torch.inference_mode():
        tiled = run_tiled(network, pixels, tile=tile, halo=16)
    assert float((tiled - untiled(network, pixels)).abs().max()) < BOUND


@pytest.mark.parametrize("band_bytes", [1, 3000, 20_000])
def test_bands_in_which_a_tile_comes_change_nothing(band_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BAND_BYTES", band_bytes)
    network, pixels = convolutions(6), photo_like(131, 203)
    assert len(transfer.to_cpu(pixels)) > 1
    with torch.inference_mode():
        tiled = run_tiled(network, pixels, tile=64, halo=16)
    assert float((tiled - untiled(network, pixels)).abs().max()) < BOUND


def test_a_network_that_enlarges_is_tiled_without_a_difference() -> None:
    network = nn.Sequential(nn.Conv2d(3, 48, 3, padding=1), nn.PixelShuffle(4), nn.Sigmoid()).eval()
    pixels = photo_like(100, 131)
    with torch.inference_mode():
        tiled = run_tiled(network, pixels, scale=4, tile=48, halo=12)
    assert tiled.shape == (3, 400, 524)
    assert float((tiled - untiled(network, pixels)).abs().max()) < BOUND


def test_a_network_that_halves_its_input_sees_the_same_grid_in_every_tile() -> None:
    network = nn.Sequential(nn.AvgPool2d(8), nn.Upsample(scale_factor=8, mode="nearest"))
    pixels = photo_like(203, 117)
    tiled = run_tiled(network, pixels, tile=70, halo=20, multiple_of=8)
    padded = nn.functional.pad(pixels[None], (0, 3, 0, 5), mode="replicate")[0]
    assert float((tiled - network(padded[None])[0][:, :203, :117]).abs().max()) < BOUND


def test_tiles_fade_into_each_other_where_the_receptive_field_does_not_fit() -> None:
    def brighter_from_call_to_call(tile: Tensor) -> Tensor:
        calls.append(1)
        return torch.full_like(tile, len(calls) / 10)

    calls: list[int] = []
    tiled = run_tiled(brighter_from_call_to_call, torch.zeros(3, 40, 200), tile=80, halo=16)
    assert len(calls) > 1
    assert float(tiled.diff(dim=2).abs().max()) < 0.1 / 8


def test_progress_grows_up_to_one() -> None:
    seen: list[float] = []
    run_tiled(nn.Identity(), photo_like(200, 200), tile=64, halo=8, token=ProgressToken(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_cancelling_stops_between_tiles() -> None:
    token = ProgressToken(cancelled=threading.Event())
    calls: list[int] = []

    def cancel_in_the_third_tile(tile: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            token.cancel()
        return tile

    with pytest.raises(Cancelled):
        run_tiled(cancel_in_the_third_tile, photo_like(300, 300), tile=64, halo=8, token=token)
    assert len(calls) == 3


def test_a_network_that_runs_out_of_memory_gets_smaller_tiles() -> None:
    def small_tiles_only(tile: Tensor) -> Tensor:
        if tile.shape[-1] > 100:
            raise torch.OutOfMemoryError("too large")
        return tile

    pixels = photo_like(300, 300)
    tiled = run_tiled(small_tiles_only, pixels, tile=384, halo=8)
    assert float((tiled - pixels).abs().max()) < 1e-6


def test_out_of_memory_with_the_smallest_tile_is_said_plainly() -> None:
    def never(tile: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("too large")

    with pytest.raises(ResourceError, match="out of memory"):
        run_tiled(never, photo_like(100, 100))


def test_other_errors_of_a_network_are_not_hidden() -> None:
    def broken(tile: Tensor) -> Tensor:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_tiled(broken, photo_like(100, 100))


@pytest.mark.parametrize(
    ("height", "width", "tile", "sides"),
    [
        (512, 1024, 436, {(512, 295)}),
        (1024, 1024, 820, {(538, 1024)}),
        (700, 700, 400, {(376, 376)}),
        (300, 1200, 600, {(300, 1200)}),
    ],
)
def test_tiles_compute_few_pixels_twice(height: int, width: int, tile: int, sides: set[tuple[int, int]]) -> None:
    seen = set[tuple[int, ...]]()

    def watched(pixels: Tensor) -> Tensor:
        seen.add(tuple(pixels.shape[-2:]))
        return pixels

    pixels = photo_like(height, width)
    assert torch.allclose(run_tiled(watched, pixels, tile=tile, halo=26), pixels)
    assert seen == sides


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 700), halo=st.integers(0, 24), multiple_of=st.sampled_from([1, 8]))
def test_tiles_of_any_size_leave_no_pixel_out(length: int, halo: int, multiple_of: int) -> None:
    pixels = photo_like(3, length)
    tiled = run_tiled(lambda tile: tile.clone(), pixels, tile=96, halo=halo, multiple_of=multiple_of)
    assert float((tiled - pixels).abs().max()) < 1e-6
