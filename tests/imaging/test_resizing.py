"""The one resampler is Pillow's bicubic, and sizes keep their aspect."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imaging import pixels, resizing
from imaging.convert import as_array, from_numpy, to_numpy
from imaging.image import Image
from imaging.resizing import fitted, resize


@pytest.mark.parametrize("size", [(128, 128), (171, 256), (300, 33), (1, 1), (700, 611), (1024, 1024)])
def test_resizing_is_pillows_bicubic(photo: Image, size: tuple[int, int]) -> None:
    planes = [PIL.Image.fromarray(np.ascontiguousarray(plane.numpy())) for plane in photo.pixels]
    resized = [plane.resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC) for plane in planes]
    expected = np.clip(np.stack([np.asarray(plane) for plane in resized], axis=2), 0, 1)
    assert np.abs(to_numpy(resize(photo.pixels, *size)) - expected).max() < 1 / 255


@pytest.mark.parametrize("size", [(128, 100), (700, 611), (20, 700), (700, 20), (512, 300), (210, 1)])
def test_row_chunks_give_the_statistics_of_the_whole(
    photo: Image, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (pixels, resizing):
        monkeypatch.setattr(module, "CHUNK_PIXELS", 20_000)
    whole = torch.nn.functional.interpolate(photo.pixels[None], size=size, mode="bicubic", antialias=True)[0]
    assert torch.equal(resize(photo.pixels, *size), whole.clamp(0, 1))


@pytest.mark.parametrize("size", [(64, 48), (100, 60), (25, 25), (9, 1)])
def test_strong_reductions_are_accurate_and_aligned(
    photo: Image, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = torch.nn.functional.interpolate(photo.pixels[None], size=size, mode="bicubic", antialias=True)[0]
    at_once = resize(photo.pixels, *size)
    difference = (at_once - exact.clamp(0, 1)).abs()
    assert difference.max() < 8 / 255
    assert difference.mean() < 1 / 255
    for module in (pixels, resizing):
        monkeypatch.setattr(module, "CHUNK_PIXELS", 20_000)
    assert torch.allclose(resize(photo.pixels, *size), at_once, atol=1e-6)


def test_arrays_and_tensors_of_one_memory(photo: Image) -> None:
    array = as_array(photo.pixels)
    assert np.array_equal(array, to_numpy(photo.pixels))
    assert from_numpy(array).data_ptr() == photo.pixels.data_ptr()
    assert torch.equal(from_numpy(to_numpy(photo.pixels)), photo.pixels)


def test_resizing_to_the_same_size_changes_nothing(photo: Image) -> None:
    assert resize(photo.pixels, 512, 512) is photo.pixels


def test_overshoot_is_clamped() -> None:
    edge = torch.zeros(1, 8, 8)
    edge[:, :, 4:] = 1
    larger = resize(edge, 64, 64)
    assert float(larger.min()) == 0
    assert float(larger.max()) == 1


@given(height=st.integers(1, 5000), width=st.integers(1, 5000), long_side=st.integers(1, 16384))
def test_the_longer_side_is_exact_and_the_aspect_kept(height: int, width: int, long_side: int) -> None:
    new_height, new_width = fitted(height, width, long_side)
    scale = long_side / max(height, width)
    assert max(new_height, new_width) == long_side
    assert new_height == max(1, round(height * scale)) or height >= width
    assert abs(new_height - height * scale) <= 1
    assert abs(new_width - width * scale) <= 1


def test_alpha_is_resized_along(photo: Image) -> None:
    with_alpha = Image(photo.pixels, alpha=photo.pixels[:1].clone(), icc_profile=b"profile", bit_depth=16)
    smaller = with_alpha.with_pixels(resize(photo.pixels, 100, 80) * 3 - 1)
    assert smaller.alpha is not None
    assert smaller.alpha.shape == (1, 100, 80)
    assert (smaller.icc_profile, smaller.bit_depth) == (b"profile", 16)
    assert (float(smaller.pixels.min()), float(smaller.pixels.max())) == (0, 1)
