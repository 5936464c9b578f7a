"""What becomes of steps that fail: another order, the way again from the input, or the picture as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent.events import Event, RolledBack
from agent.state import KEEP_INPUT
from imaging.convert import from_numpy
from imaging.image import Image
from imaging.writing import write_image
from tests.agent.scripted import (
    CLEAN,
    NOISY,
    PLAIN_2X,
    ScriptedPool,
    expert,
    profile,
    ruin,
    run,
    truth,
    winners,
)
from toolbox.tasks import Task


def test_a_failed_step_is_rolled_back_and_another_order_tried(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), expert("ideal", Task.BRIGHTENING, truth), PLAIN_2X)
    events: list[Event] = []
    wanted = profile(restore_option="denoising+brightening")
    restoration = run(noisy_file, wanted, pool, listener=events.append)
    assert [event.step.task for event in events if isinstance(event, RolledBack)] == [Task.DENOISING]
    # Denoising failed first, so brightening goes before it; on the clean picture denoising fails again and is left.
    assert [str(node.step) for node in restoration.path_taken()[1:]] == [
        "brightening",
        "denoising",
        "super_resolution 2x",
    ]
    assert winners(restoration) == ["ideal", KEEP_INPUT, "plain_2x"]


def test_steps_that_all_fail_are_each_tried_once_from_the_same_image(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin_a", Task.DENOISING, ruin), expert("ruin_b", Task.DEHAZING, ruin), PLAIN_2X)
    run(noisy_file, profile(restore_option="denoising+dehazing"), pool)
    assert sorted(pool.calls) == ["plain_2x", "ruin_a", "ruin_b"]


def test_nothing_is_enlarged_before_its_time_because_only_faces_are_left_to_begin_with(noisy_file: Path) -> None:
    face = expert("face", Task.FACE_RESTORATION, lambda image: image)
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), face, PLAIN_2X)
    restoration = run(noisy_file, profile(restore_option="denoising+face_restoration"), pool)
    steps = [str(node.step) for node in restoration.path_taken()[1:]]
    assert steps == ["denoising", "super_resolution 2x", "face_restoration"]
    assert pool.calls.count("ruin") == 1


def mixed(share: float) -> Callable[[Image], Image]:
    """So much nearer to the truth."""
    return lambda image: image.with_pixels(image.pixels + share * (from_numpy(CLEAN) - image.pixels))


def noisy_only(first: Callable[[Image], Image], later: Callable[[Image], Image]) -> Callable[[Image], Image]:
    """One thing done to the picture as it came, and another to every other one."""
    came = from_numpy(np.rint(NOISY * 255).astype(np.float32) / np.float32(255))

    def function(image: Image) -> Image:
        return (first if float((image.pixels - came).abs().max()) < 1e-3 else later)(image)

    return function


@pytest.mark.parametrize(
    ("denoise", "brighten", "path"),
    [
        (mixed(0.4), noisy_only(truth, ruin), ["brighten", KEEP_INPUT]),
        (noisy_only(truth, ruin), noisy_only(mixed(0.4), ruin), ["denoise", KEEP_INPUT]),
        (truth, ruin, ["denoise", KEEP_INPUT]),
    ],
    ids=["the second way is better", "the first way is better", "there is no second way"],
)
def test_if_no_order_helps_the_run_restarts_and_the_better_end_is_taken(
    noisy_file: Path,
    denoise: Callable[[Image], Image],
    brighten: Callable[[Image], Image],
    path: list[str],
) -> None:
    pool = ScriptedPool(
        expert("denoise", Task.DENOISING, denoise), expert("brighten", Task.BRIGHTENING, brighten), PLAIN_2X
    )
    events: list[Event] = []
    restoration = run(noisy_file, profile(restore_option="denoising+brightening"), pool, listener=events.append)
    assert winners(restoration) == [*path, "plain_2x"]
    assert pool.calls[:3] == ["denoise", "brighten", "brighten"]
    back = next(event for event in events if isinstance(event, RolledBack))
    assert (back.step.task, back.to_node) == (Task.BRIGHTENING, 0)


def test_a_budget_spent_in_the_second_branch_gives_the_better_end(noisy_file: Path) -> None:
    pool = ScriptedPool(
        expert("denoise", Task.DENOISING, truth),
        expert("brighten", Task.BRIGHTENING, noisy_only(mixed(0.4), ruin)),
        PLAIN_2X,
    )
    wanted = profile(restore_option="denoising+brightening", max_expert_runs=3)
    restoration = run(noisy_file, wanted, pool)
    assert pool.calls == ["denoise", "brighten", "brighten"]
    assert winners(restoration) == ["denoise", KEEP_INPUT]


def test_a_degradation_that_an_earlier_step_took_away_is_not_treated_again(tmp_path: Path) -> None:
    path = tmp_path / "noisy.jpg"
    write_image(Image(from_numpy(NOISY)), path, quality=25)
    pool = ScriptedPool(
        expert("both", Task.JPEG_ARTIFACT_REMOVAL, truth), expert("smooth", Task.DENOISING, truth), PLAIN_2X
    )
    both = profile(restore_option="jpeg_artifact_removal+denoising")
    restoration = run(path, both, pool)
    assert winners(restoration) == ["both", KEEP_INPUT, "plain_2x"]
    assert "smooth" not in pool.calls


def test_without_rollback_a_failed_step_is_simply_left_out(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin_a", Task.DENOISING, ruin), expert("ruin_b", Task.DEHAZING, ruin), PLAIN_2X)
    events: list[Event] = []
    wanted = profile(restore_option="denoising+dehazing", rollback=False)
    assert winners(run(noisy_file, wanted, pool, listener=events.append)) == [KEEP_INPUT, KEEP_INPUT, "plain_2x"]
    assert not any(isinstance(event, RolledBack) for event in events)
