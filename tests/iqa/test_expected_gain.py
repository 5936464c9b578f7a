"""Expected gains: large where an expert helps, and none to speak of where there is nothing to do."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from imaging.convert import FloatArray, from_numpy, to_float, to_uint8
from imaging.image import Image
from iqa.expected_gain import (
    AS_GOOD_DB,
    ExpectedGain,
    expected_gain_of,
    expected_gains,
    load_gain_model,
    prior_by_gain,
    prior_of_no_gain,
    shortlist_by_gain,
)
from iqa.features import extract_features
from toolbox.catalogue import default_catalogue
from toolbox.tasks import Task
from training.camera.conditions import Conditions
from training.camera.photograph import photograph
from training.data.degradations import gaussian_noise, jpeg

PHOTO = to_float(skimage.data.coffee()[:320, 100:420])
TONE_TASKS = (Task.BRIGHTENING, Task.DEHAZING)
LOCAL_TASKS = (Task.DENOISING, Task.JPEG_ARTIFACT_REMOVAL, Task.DEFOCUS_DEBLURRING, Task.MOTION_DEBLURRING)


def gain(task: Task, pixels: FloatArray) -> ExpectedGain:
    rounded = to_float(to_uint8(np.clip(pixels, 0, 1)))
    return expected_gain_of(task, expected_gains(extract_features(Image(from_numpy(rounded)))))


def test_most_noisy_photographs_are_expected_to_gain_by_denoising() -> None:
    noisy = Conditions(iso=25_600, camera_processing=False, jpeg_quality=92)
    pictures = [photograph(PHOTO, noisy, np.random.default_rng(seed)).picture for seed in range(8)]
    gains = [gain(Task.DENOISING, picture) for picture in pictures]
    assert sum(one.is_clear for one in gains) >= 6
    assert min(one.median_db for one in gains) > gain(Task.DENOISING, PHOTO).median_db


def test_coarse_compression_is_expected_to_gain() -> None:
    assert gain(Task.JPEG_ARTIFACT_REMOVAL, jpeg(PHOTO, 12)).is_clear


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_a_clean_photo_is_expected_to_gain_next_to_nothing(grey: bool) -> None:
    clean = to_float(skimage.data.astronaut()[:320, :320])
    if grey:
        clean = np.repeat(clean.mean(2, keepdims=True), 3, axis=2).astype(np.float32)
    for task in TONE_TASKS:
        assert not gain(task, clean).is_clear
    for task in LOCAL_TASKS:
        assert gain(task, clean).low_db < 0.2


@pytest.mark.parametrize("stops", [-1, -2, -3])
def test_a_dark_photo_alone_is_no_reason_to_brighten_it(stops: int) -> None:
    assert not gain(Task.BRIGHTENING, PHOTO * np.float32(2.0**stops)).is_clear


def test_every_expert_of_the_model_is_an_expert_of_its_task() -> None:
    cards = {card.name: card.task.value for card in default_catalogue()}
    model = load_gain_model()
    assert {name: cards[name] for name in model.experts} == dict(zip(model.experts, model.tasks, strict=True))


def test_gains_of_a_task_are_those_of_its_experts() -> None:
    features = extract_features(Image(from_numpy(gaussian_noise(PHOTO, np.random.default_rng(0), 20).clip(0, 1))))
    gains = expected_gains(features, Task.DENOISING)
    assert gains.keys() < expected_gains(features).keys()
    assert expected_gain_of(Task.DENOISING, expected_gains(features)) == max(
        gains.values(), key=lambda one: one.median_db
    )


def test_the_shortlist_holds_what_may_be_best() -> None:
    gains = {name: ExpectedGain(0.0, median) for name, median in [("b", 1.9), ("a", 2.0), ("c", 1.8), ("d", 0.1)]}
    assert shortlist_by_gain(gains) == ["a", "b"]
    assert shortlist_by_gain({"a": gains["a"], "far": ExpectedGain(0.0, 2.0 - 2 * AS_GOOD_DB)}) == ["a"]


def test_an_unknown_expert_counts_half_as_far_as_it_is_consistent() -> None:
    gains = {"known": ExpectedGain(0.5, 2.0), "worse": ExpectedGain(0.2, 1.0)}
    assert prior_by_gain(gains, "known", 0.0) == 0
    assert prior_by_gain(gains, "unknown", 1.0) == prior_by_gain(gains, "worse", 0.0) < 0
    assert prior_by_gain(gains, "unknown", 0.0) == prior_of_no_gain(gains)


def test_where_nothing_gains_the_input_has_the_best_prior() -> None:
    gains = {"known": ExpectedGain(-2.0, -1.0)}
    assert prior_of_no_gain(gains) == 0 > prior_by_gain(gains, "known", 1.0)
