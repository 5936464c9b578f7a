"""A step that nobody asks for changes a picture only where one can see it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import skimage.data
import torch

from agent.state import KEEP_INPUT, Step
from agent.step import experts_for, run_step
from imaging.convert import from_numpy, to_float
from imaging.image import Image
from iqa.visibility import is_visible
from profiles.schema import Profile
from tests.agent.scripted import step_context
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.data.degradations import jpeg

PHOTO = to_float(skimage.data.coffee()[100:356, 200:456])
STEP = Step(task=Task.JPEG_ARTIFACT_REMOVAL)


@pytest.fixture(scope="module")
def experts() -> ExpertPool:
    return ExpertPool()


@pytest.mark.parametrize(("quality", "changes_unasked"), [(95, False), (25, True)])
def test_an_invisible_change_is_made_only_on_request(
    quality: int, changes_unasked: bool, experts: ExpertPool
) -> None:
    image = Image(from_numpy(jpeg(PHOTO, quality)))
    context = step_context(image, STEP, Profile(name="test"), experts)

    def changed(is_requested: bool) -> bool:
        given = replace(context, is_requested=is_requested)
        result = run_step(given, experts_for(given))
        assert result.best
        assert result.best.image
        explained = any(verdict.error and "too little" in verdict.error for verdict in result.verdicts)
        assert explained == (not is_requested and not changes_unasked)
        return not torch.equal(result.best.image.pixels, image.pixels) and result.best.verdict.expert != KEEP_INPUT

    assert changed(is_requested=True)
    assert changed(is_requested=False) == changes_unasked


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 7, 40), (3, 1, 300), (3, 65, 129)])
def test_images_of_every_shape_are_compared(shape: tuple[int, int, int]) -> None:
    image = torch.full(shape, 0.5)
    assert not is_visible(image, image + 0.004)
    assert is_visible(image, image + 0.02)
    changed = image.clone()
    changed[:, -1, -1] += 0.5
    assert is_visible(image, changed)
