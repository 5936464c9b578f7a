"""Pictures of other spaces as networks see them, and on the way back."""

from __future__ import annotations

from dataclasses import replace

import imagecodecs
import numpy as np
import pytest

from imaging.convert import from_numpy, to_numpy
from imaging.decoding.colour import PRIMARIES, adobe_rgb_profile, rgb_profile, srgb_profile
from imaging.image import Image
from imaging.network_space import in_file_space, in_network_space
from imaging.resizing import resize

SPACES = {
    "Display P3": rgb_profile(PRIMARIES[12]),
    "Adobe RGB": adobe_rgb_profile(),
    "BT.2020": rgb_profile(PRIMARIES[9]),
    "linear": rgb_profile(gamma=1.0),
    "grey, gamma 1.0": bytes(imagecodecs.cms_profile("gray", gamma=1.0)),
}
RANDOM = np.random.default_rng(0)
RAMP = np.linspace(0, 1, 96, dtype=np.float32)[None, :, None].repeat(32, axis=0)
SATURATED = np.concatenate([RAMP * np.eye(3, dtype=np.float32)[channel] for channel in range(3)])
"""The primaries of a space from black to the brightest, which are the colours farthest beyond sRGB."""


def in_levels(values: np.ndarray, depth: int) -> np.ndarray:
    most = np.float32(2**depth - 1)
    return (np.rint(values * most) / most).astype(np.float32)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("depth", [8, 16])
def test_a_picture_that_is_not_changed_keeps_its_values(space: str, depth: int) -> None:
    grey = RANDOM.random((96, 96, 1)).repeat(3, axis=2)
    colours = np.concatenate([SATURATED, RANDOM.random((96, 96, 3))]) if not space.startswith("grey") else grey
    values = in_levels(np.concatenate([grey, colours]), depth)
    image = Image(from_numpy(values), icc_profile=SPACES[space], bit_depth=depth)
    seen = in_network_space(image)
    assert not seen.pixels.equal(image.pixels)
    assert bool((seen.pixels[0, :96] == seen.pixels[2, :96]).all())
    changed = seen.pixels.clone()
    changed[:, :, 48:] *= 0.9
    kept = in_file_space(seen.with_pixels(changed)).pixels
    assert kept[:, :, :48].equal(image.pixels[:, :, :48])
    assert bool((kept[0, :96] == kept[2, :96]).all())


@pytest.mark.parametrize("space", ["Display P3", "Adobe RGB", "BT.2020"])
def test_colours_beyond_srgb_survive_an_enlargement(space: str) -> None:
    image = Image(from_numpy(in_levels(SATURATED, 16)), icc_profile=SPACES[space], bit_depth=16)
    seen = in_network_space(image)
    assert (float(seen.pixels.min()), float(seen.pixels.max())) >= (0.0, 0.9)
    enlarged = in_file_space(seen.with_pixels(resize(seen.pixels, 192, 192)))
    wanted = resize(image.pixels, 192, 192)
    rows = [row for row in range(192) if 8 < row % 64 < 56]  # not where one colour meets another
    assert float((enlarged.pixels - wanted)[:, rows].abs().max()) < 0.06
    assert float(enlarged.pixels[1, 96, -4:].min()) > 0.97


@pytest.mark.parametrize("space", ["Display P3", "Adobe RGB"])
def test_noise_of_a_file_is_what_it_would_be_in_srgb(space: str) -> None:
    """The estimators and networks measure it in the pixels they see."""
    noisy = np.clip(np.float32([0.7, 0.4, 0.1]) + 0.1 * RANDOM.standard_normal((96, 96, 3)), 0, 1)
    stored = imagecodecs.cms_transform(
        np.ascontiguousarray(noisy, np.float32), srgb_profile(), SPACES[space], colorspace="rgb", outcolorspace="rgb"
    )
    image = Image(from_numpy(in_levels(np.clip(stored, 0, 1), 8)), icc_profile=SPACES[space])
    assert np.abs(to_numpy(image.pixels).std((0, 1)) - noisy.std((0, 1))).max() > 0.01
    assert np.abs(to_numpy(in_network_space(image).pixels).std((0, 1)) - noisy.std((0, 1))).max() < 0.002


def test_noise_around_a_colour_beyond_srgb_is_not_clipped() -> None:
    values = np.clip(np.float32([0.05, 0.8, 0.1]) + 0.04 * RANDOM.standard_normal((96, 96, 3)), 0, 1)
    image = Image(from_numpy(in_levels(values, 8)), icc_profile=SPACES["Display P3"])
    seen = in_network_space(image)
    assert float((seen.pixels <= 0).float().mean()) < float((image.pixels <= 0).float().mean()) + 0.01
    mean = seen.pixels.mean(dim=(1, 2), keepdim=True).expand(-1, 96, 96)
    cleaned = in_file_space(seen.with_pixels(mean.contiguous()))
    assert np.abs(to_numpy(cleaned.pixels).mean((0, 1)) - values.mean((0, 1))).max() < 0.03


def test_pictures_in_spaces_like_srgb_are_left_as_they_are() -> None:
    image = Image(from_numpy(SATURATED))
    for profile in (None, srgb_profile(), rgb_profile(gamma=2.3), b"damaged" * 40):
        assert in_network_space(replace(image, icc_profile=profile)).pixels is image.pixels
