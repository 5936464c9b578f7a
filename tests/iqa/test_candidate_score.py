"""The fidelity-aware score: what speaks for a candidate raises it; the profile says how much faithfulness counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from imaging.convert import FloatArray
from imaging.image import Image
from iqa.candidate_score import CandidateScore, origin_of, removal, score
from iqa.expert_priors import priors_for
from iqa.features import extract_features
from toolbox.tasks import Task

Picture = Callable[[FloatArray], Image]
FAIR = CandidateScore(Task.DENOISING, quality=0.6, removal=0.2, consistency=0.7, expert_prior=0.0)


@pytest.mark.parametrize("part", ["quality", "removal", "consistency", "expert_prior"])
def test_every_part_raises_the_score(part: str) -> None:
    better = replace(FAIR, **{part: getattr(FAIR, part) + 0.05})
    assert score(better, 0.5) > score(FAIR, 0.5)


def test_faithfulness_counts_as_much_as_the_profile_says() -> None:
    faithful = replace(FAIR, consistency=1.0)
    gains = [score(faithful, weight) - score(FAIR, weight) for weight in (0.0, 0.5, 1.0)]
    assert gains[0] == 0
    assert gains[2] == pytest.approx(2 * gains[1])


def test_super_resolution_has_nothing_to_remove() -> None:
    enlarged = replace(FAIR, task=Task.SUPER_RESOLUTION)
    assert score(replace(enlarged, removal=1.0), 0.5) == score(enlarged, 0.5)


def test_scores_stay_in_range() -> None:
    assert score(CandidateScore(Task.DENOISING, 1.0, 1.0, 1.0, 1.0), 1.0) == 1
    assert score(CandidateScore(Task.DENOISING, 0.0, -1.0, 0.0, -1.0), 0.0) == 0


@pytest.mark.parametrize("task", [Task.JPEG_ARTIFACT_REMOVAL, Task.SUPER_RESOLUTION])
def test_priors_are_those_for_noisy_pictures_where_there_is_noise(
    task: Task, photos: dict[str, FloatArray], picture: Picture
) -> None:
    tables = {task.value: {"some": 0.1}, f"{task.value}_mixed": {"some": 0.2}}
    grain = 0.12 * np.random.default_rng(0).normal(size=photos["coffee"].shape).astype(np.float32)
    clean, noisy = (
        origin_of(task, extract_features(picture(photos["coffee"] + added))) for added in (0 * grain, grain)
    )
    assert priors_for(tables, task, clean.co_degradation_severity) == {"some": 0.1}
    assert priors_for(tables, task, noisy.co_degradation_severity) == {"some": 0.2}
    assert priors_for({task.value: {"some": 0.1}}, task, noisy.co_degradation_severity) == {"some": 0.1}


def test_removal_is_positive_for_less_noise_and_negative_for_more(
    photos: dict[str, FloatArray], picture: Picture
) -> None:
    grain = np.random.default_rng(0).normal(size=photos["coffee"].shape).astype(np.float32)
    noisy, half, clean = (extract_features(picture(photos["coffee"] + sigma * grain)) for sigma in (0.12, 0.05, 0.0))
    origin = origin_of(Task.DENOISING, noisy)
    assert removal(origin, clean) > removal(origin, half) > removal(origin, noisy) == 0
    assert removal(origin_of(Task.DENOISING, half), noisy) < 0
