"""Photographs made by training.camera: what is drawn is what is seen, and nothing else happens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imaging.convert import FloatArray
from training.camera.colour import ColourPipeline
from training.camera.conditions import Conditions
from training.camera.photograph import photograph
from training.camera.sensor import Sensor

SIZE = 128


@pytest.fixture
def subject() -> FloatArray:
    """Smooth colours with a texture, none of them black or white."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    picture = np.stack([0.2 + 0.6 * x, 0.2 + 0.5 * y, 0.7 - 0.4 * x * y], 2)
    picture += 0.08 * (np.sin(SIZE * x / 2) * np.sin(SIZE * y / 2))[:, :, None]
    return picture.astype(np.float32)


def psnr(one: FloatArray, other: FloatArray) -> float:
    return float(-10 * np.log10(np.square(one - other).mean() + 1e-12))


GOOD = Conditions(iso=100, camera_processing=False, jpeg_quality=None)


@pytest.mark.parametrize("seed", range(5))
def test_developing_what_was_undeveloped_gives_the_picture_back(subject: FloatArray, seed: int) -> None:
    camera = ColourPipeline.draw(np.random.default_rng(seed))
    assert np.abs(camera.render(camera.balance(camera.unprocess(subject))) - subject).max() < 2e-3


@pytest.mark.parametrize("edge_aware", [False, True])
def test_a_sensor_without_noise_keeps_colours_in_their_channels(edge_aware: bool) -> None:
    colour = np.full((32, 32, 3), [0.2, 0.5, 0.8], np.float32)
    assert np.abs(Sensor(100, 0, 0, 14, edge_aware).expose(colour, None) - colour).max() < 1e-3


def test_noise_has_the_variance_that_the_sensor_says() -> None:
    sensor = Sensor(1600, shot=2e-3, read=1e-5, bits=14, edge_aware=False)
    flat = np.full((256, 256, 3), 0.4, np.float32)
    exposed = sensor.expose(flat, np.random.default_rng(0))
    # pixels whose own colour was measured: red at even rows and columns
    assert exposed[0::2, 0::2, 0].var() == pytest.approx(2e-3 * 0.4 + 1e-5, rel=0.05)


def test_a_photograph_without_degradation_equals_its_subject(subject: FloatArray) -> None:
    taken = photograph(subject, GOOD, np.random.default_rng(1))
    assert psnr(taken.picture, subject) > 35
    assert psnr(taken.reference, subject) > 55


@pytest.mark.parametrize(
    ("fault", "least_db"),
    [
        ({"iso": 12_800}, 6),
        ({"motion_px": 15}, 3),
        ({"blur_px": 4}, 3),
        ({"haze": 1.5}, 6),
        ({"underexposed_stops": -2.5}, 10),
        ({"rain": True}, 3),
        ({"medium": "film", "grain": 0.1}, 6),
        ({"medium": "half_tone", "grain": 0.01}, 6),
    ],
)
def test_each_fault_takes_the_picture_away_from_its_reference(
    subject: FloatArray, fault: dict[str, Any], least_db: float
) -> None:
    good, bad = (photograph(subject, one, np.random.default_rng(3)) for one in (GOOD, replace(GOOD, **fault)))
    assert psnr(bad.picture, bad.reference) < psnr(good.picture, good.reference) - least_db


@pytest.mark.parametrize("stored", [{"jpeg_quality": 60}, {"sent_on": True}])
def test_storage_changes_the_picture_of_the_sensor(subject: FloatArray, stored: dict[str, Any]) -> None:
    good, bad = (photograph(subject, one, np.random.default_rng(3)) for one in (GOOD, replace(GOOD, **stored)))
    assert psnr(bad.picture, good.picture) < 42
    assert np.array_equal(bad.without_noise, good.without_noise)


def test_dark_and_foggy_scenes_are_their_own_references(subject: FloatArray) -> None:
    meant = replace(GOOD, exposure_stops=-3, haze=1.0, haze_is_meant=True)
    taken = photograph(subject, meant, np.random.default_rng(4))
    assert psnr(taken.picture, taken.reference) > 35
    assert taken.reference.mean() < 0.6 * subject.mean()


def test_a_shallow_depth_of_field_is_its_own_reference(subject: FloatArray) -> None:
    meant = replace(GOOD, blur_px=4.0, blur_is_meant=True)
    taken = photograph(subject, meant, np.random.default_rng(1))
    sharp = photograph(subject, GOOD, np.random.default_rng(1))
    assert psnr(taken.picture, taken.reference) > 37
    assert psnr(taken.picture, sharp.picture) < 35


@pytest.mark.parametrize("seed", range(6))
def test_grey_pictures_have_one_channel(subject: FloatArray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    conditions = replace(Conditions.draw(rng), colour="grey", jpeg_quality=None, haze=0.0, medium="digital")
    taken = photograph(subject, conditions, rng)
    for picture in (taken.picture, taken.without_noise, taken.reference):
        assert np.ptp(picture, axis=2).max() < 1e-6


@pytest.mark.parametrize("seed", range(40))
def test_every_sample_has_the_same_size_and_is_in_range(subject: FloatArray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    taken = photograph(subject[:113, :97], Conditions.draw(rng), rng)
    for picture in (taken.picture, taken.without_noise, taken.reference):
        assert picture.shape == (113, 97, 3)
        assert picture.dtype == np.float32
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_the_same_seed_gives_the_same_photograph(subject: FloatArray) -> None:
    def take(seed: int) -> FloatArray:
        rng = np.random.default_rng(seed)
        return photograph(subject, Conditions.draw(rng), rng).picture

    assert np.array_equal(take(7), take(7))
    assert not np.array_equal(take(7), take(8))
