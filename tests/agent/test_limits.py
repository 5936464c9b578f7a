"""What a run may spend, whom it must believe, and what it must not do twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.events import StepFinished
from agent.expert_choice import candidates, shortlist
from agent.faces.step import run_face_step
from agent.qmoe import run_candidates
from agent.reasoners.reasoner import CallerReasoner
from agent.run_folder import RunFolder
from agent.search.rollback import remaining_without_first
from agent.state import KEEP_INPUT, Node, Step
from agent.timer import Timer
from imaging.convert import from_numpy
from imaging.errors import ResourceError
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.writing import write_image
from iqa.features import extract_features
from profiles.loading import load_profile
from tests.agent.scripted import (
    NOISY,
    PLAIN_2X,
    ScriptedExpert,
    ScriptedPool,
    expert,
    profile,
    ruin,
    run,
    step_context,
    trace,
    truth,
    winners,
)
from tests.agent.test_qmoe import MixingPool
from toolbox.card import ExpertCard, UnavailableCard
from toolbox.pool import ExpertPool
from toolbox.tasks import Degradation, Severity, Task

DIM = 0.98


def dimmed(image: Image) -> Image:
    return image.with_pixels(DIM * image.pixels)


def seen_by_the_caller(*names: Degradation) -> CallerReasoner:
    return CallerReasoner(findings=dict.fromkeys(names, Severity.HIGH))


def test_findings_of_the_caller_alone_are_treated_after_other_steps_too(noisy_file: Path) -> None:
    pool = ScriptedPool(
        expert("clean", Task.DENOISING, truth), expert("sharpen", Task.DEFOCUS_DEBLURRING, dimmed), PLAIN_2X
    )
    reasoner = seen_by_the_caller(Degradation.NOISE, Degradation.DEFOCUS_BLUR)
    run(noisy_file, profile(restore_option=None), pool, reasoner=reasoner)
    assert {"clean", "sharpen"} <= set(pool.calls)


def test_steps_that_fail_by_a_threshold_are_each_tried_once_from_the_same_image(noisy_file: Path) -> None:
    rain = expert("rain", Task.DERAINING, ruin)
    motion = expert("motion", Task.MOTION_DEBLURRING, ruin)
    pool = ScriptedPool(rain, motion, PLAIN_2X)
    run(noisy_file, profile(restore_option="deraining+motion-deblurring", rollback_below=0.99), pool)
    assert sorted(pool.calls) == ["motion", "plain_2x", "rain"]


GONE, RAIN, HAZE = (Step(task=task) for task in (Task.DENOISING, Task.DERAINING, Task.DEHAZING))
ENLARGE = Step(task=Task.SUPER_RESOLUTION, scale=2)


@pytest.mark.parametrize(
    ("remaining_steps", "failed", "left"),
    [
        ((GONE, RAIN, ENLARGE), (RAIN,), (ENLARGE,)),
        ((GONE, RAIN, HAZE, ENLARGE), (RAIN,), (HAZE, RAIN, ENLARGE)),
        ((GONE, HAZE, RAIN), (RAIN,), (HAZE, RAIN)),
        ((GONE, RAIN, ENLARGE), (), (RAIN, ENLARGE)),
    ],
    ids=["nothing else is left", "something else goes before it", "it is not the next", "nothing has failed"],
)
def test_after_a_step_that_changed_nothing_comes_none_that_has_failed_on_these_pixels(
    remaining_steps: tuple[Step, ...], failed: tuple[Step, ...], left: tuple[Step, ...]
) -> None:
    assert (
        remaining_without_first(
            Node(id=1, width=8, height=8, remaining_steps=remaining_steps, failed_first_steps=failed)
        )
        == left
    )


def test_an_expert_without_memory_leaves_the_step_to_the_others(noisy_file: Path) -> None:
    def hungry(image: Image) -> Image:
        raise ResourceError("not enough memory for a single tile", "use a smaller expert")

    pool = ScriptedPool(expert("hungry", Task.DENOISING, hungry), expert("modest", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(), pool)
    assert winners(restoration) == ["modest", "plain_2x"]
    errors = {verdict.expert: verdict.error for verdict in restoration.path_taken()[1].verdicts}
    assert "not enough memory" in (errors["hungry"] or "")


def test_a_run_with_a_diffusion_expert_can_be_loaded(noisy_file: Path) -> None:
    ideal = expert("ideal", Task.DENOISING, truth)
    card = ideal.card.model_copy(update={"loader": "diffusion"})
    restoration = run(noisy_file, profile(), ScriptedPool(ScriptedExpert(card, truth), PLAIN_2X))
    assert winners(restoration)[0] == "ideal"
    kept = RunFolder(restoration.folder)
    assert kept.load_state() == restoration.state
    costs = [event.node.verdicts[-1].cost for event in trace(kept.path) if isinstance(event, StepFinished)]
    assert costs == [3, 1]


@dataclass
class Slow:
    """An expert that works in a hundred small pieces."""

    card: ExpertCard
    pieces: int = 0

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        for piece in range(100):
            token.report(piece / 100)
            self.pieces += 1
        return truth(image)


def test_when_the_time_is_up_an_expert_is_stopped_and_the_best_so_far_is_finished(
    noisy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(expert("slow", Task.DENOISING, truth).card)
    monkeypatch.setattr(Timer, "total", lambda self: 20.0 if slow.pieces >= 3 else 0.0)
    pool = ScriptedPool(slow, PLAIN_2X)  # type: ignore[arg-type]
    restoration = run(noisy_file, profile(max_seconds=10), pool)
    assert slow.pieces == 3
    assert winners(restoration) == [KEEP_INPUT]
    assert read_image(restoration.output).width == 256
    assert any("the budget of 10 seconds" in warning for warning in restoration.state.warnings)


def test_with_few_runs_left_the_best_expert_for_the_picture_runs(photo: Image) -> None:
    """By what is best anywhere, another one would come first: it is for pictures that are noisy too."""
    small = Image(torch.nn.functional.avg_pool2d(photo.pixels[:, :256, 96:352], 4))
    pool, step = ExpertPool(), Step(task=Task.SUPER_RESOLUTION, scale=4)
    wanted = load_profile("ExpSR-s4-F")
    first = shortlist(candidates(step, wanted, pool), wanted, small, extract_features(small))[0]
    assert first.name == "restore4k_sr_x4"


def test_nothing_is_prescreened_where_that_would_take_more_runs_than_are_left() -> None:
    picture = Image(torch.rand(3, 600, 600, generator=torch.Generator().manual_seed(0)))
    pool = MixingPool(picture, {"one": 0.2, "two": 0.4, "three": 0.6})
    step, cards = Step(task=Task.DENOISING), tuple(pool.catalogue)
    for most, runs in ((2, 2), (3, 3), (None, 4)):
        context = step_context(picture, step, load_profile("default"), pool, runs_left=most)
        judged = run_candidates(context, cards)
        verdicts = [one.verdict for one in judged if one.verdict.expert != KEEP_INPUT]
        assert len(verdicts) >= runs if most is None else len(verdicts) == runs


def test_faces_beyond_the_expert_runs_are_skipped(photo: Image) -> None:
    face = photo.pixels[:, :256, 96:352]
    two = Image(torch.cat([face, face.flip(-1)], dim=-1))
    step, pool = Step(task=Task.FACE_RESTORATION), ExpertPool()
    wanted = load_profile("default").model_copy(update={"face_restore": True})
    cards = candidates(step, wanted, pool)
    for most, treated in ((None, 2), (len(cards), 1)):
        work = list(run_face_step(step_context(two, step, wanted, pool, runs_left=most), cards))[-1].faces
        assert work is not None
        assert sum(not one.left_alone for one in work.faces) == treated
        assert most is None or work.expert_runs <= most


MISSING = ScriptedExpert(
    UnavailableCard(name="missing", task=Task.DENOISING, why="nobody has its weights", about="", source=""), truth
)
POOL = (
    expert("ideal", Task.DENOISING, truth),
    expert("plain_4x", Task.SUPER_RESOLUTION, truth, 4),
    MISSING,
    PLAIN_2X,
)


@pytest.mark.parametrize(
    ("name", "message"),
    [("plain_4x", "super_resolution 4x is not in the plan"), ("missing", "nobody has its weights")],
)
def test_a_named_expert_that_cannot_run_gives_a_warning(noisy_file: Path, name: str, message: str) -> None:
    restoration = run(noisy_file, profile(experts=["ideal", name]), ScriptedPool(*POOL))
    (warning,) = restoration.state.warnings
    assert name in warning
    assert message in warning


def test_a_plan_without_enlargement_keeps_the_size(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    wanted = profile(scale_factor=None, restore_option=None, plan="denoising")
    result = read_image(run(noisy_file, wanted, pool).output)
    assert (result.width, result.height) == (128, 128)


def test_inconsistent_results_are_rejected_by_strict_profiles(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), PLAIN_2X)
    restoration = run(noisy_file, profile(least_consistency=0.8, keep_input=False), pool)
    (verdict,) = restoration.path_taken()[1].verdicts
    assert verdict.error is not None
    assert "consistency 0.00 is below 0.80" in verdict.error


@pytest.mark.parametrize(("tint", "grey"), [(0.2, False), (0.001, True)])
def test_a_grey_photo_that_an_expert_colours_gets_colours(tmp_path: Path, tint: float, grey: bool) -> None:
    pixels = from_numpy(np.repeat(NOISY.mean(2, keepdims=True), 3, 2))
    write_image(Image(pixels, greyscale=True), tmp_path / "in.png")

    def colour(image: Image) -> Image:
        factors = torch.tensor([1.0, 1 - tint, 1 - tint])[:, None, None]
        return image.with_pixels(image.pixels * factors)

    pool = ScriptedPool(expert("colour", Task.OLD_PHOTO_RESTORATION, colour), PLAIN_2X)
    wanted = profile(restore_option="old-photo-restoration", old_photo_restoration=True, experts=["colour"])
    assert read_image(run(tmp_path / "in.png", wanted, pool).output).greyscale is grey
