"""Old photos in the agent: what is scratched, faded and yellowed comes nearer to what it was; what is not stays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from agent.expert_choice import candidates
from agent.judging import Candidate
from agent.state import KEEP_INPUT, Step
from agent.step import run_step
from imaging.convert import FloatArray, from_numpy, to_float, to_numpy, to_uint16
from imaging.image import Image
from profiles.loading import load_profile
from tests.agent.scripted import step_context
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

STEP, PROFILE = Step(task=Task.OLD_PHOTO_RESTORATION), load_profile("OldP4K-P")


@pytest.fixture(scope="module")
def new(photo: Image) -> FloatArray:
    """A grey photo of 256x256 pixels."""
    pixels = to_numpy(photo.pixels)[:256, 96:352]
    return np.repeat(pixels.mean(2, keepdims=True), 3, axis=2)


def restored(pixels: FloatArray) -> Candidate:
    pool, image = ExpertPool(), Image(from_numpy(np.ascontiguousarray(pixels, np.float32)))
    best = run_step(step_context(image, STEP, PROFILE, pool), candidates(STEP, PROFILE, pool)).best
    assert best is not None
    return best


@pytest.mark.parametrize("scratched", [False, True])
def test_restoring_an_old_photo_raises_its_psnr(new: FloatArray, scratched: bool) -> None:
    old = (0.2 + 0.5 * new) * np.array([1, 0.86, 0.68], np.float32)
    if scratched:
        cv2.line(old, (20, 10), (60, 250), (0.97, 0.97, 0.97), 2, cv2.LINE_AA)
    best = restored(old)
    assert best.verdict.expert != KEEP_INPUT
    assert best.image is not None
    left = float(np.square(to_numpy(best.image.pixels) - new).mean())
    assert left < 0.5 * float(np.square(old - new).mean())


def test_a_photo_that_shows_no_age_stays_as_it_is(new: FloatArray) -> None:
    image = restored(new).image
    assert image is not None
    assert np.array_equal(to_numpy(image.pixels), to_float(to_uint16(new)))
