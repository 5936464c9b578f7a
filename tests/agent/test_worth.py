"""Which steps are planned: what the picture is expected to gain decides, unless somebody asks."""

from __future__ import annotations

import pytest

from agent.planning import plan
from agent.state import Finding, Perception, TaskGain
from agent.worth import is_worth_a_step
from profiles.loading import load_profile
from profiles.schema import Profile
from toolbox.catalogue import default_catalogue
from toolbox.tasks import Degradation, Severity, Task

NONE = TaskGain(low_db=-1.0, median_db=-0.5)
CLEAR = TaskGain(low_db=0.4, median_db=2.0)
LIKELY = TaskGain(low_db=0.4, median_db=1.0)


def perception(
    findings: dict[Degradation, Finding] | None = None, gains: dict[Task, TaskGain] | None = None
) -> Perception:
    return Perception(
        width=640,
        height=480,
        quality=0.5,
        metrics={},
        findings=findings or {},
        gains=gains or {},
        description="",
        by="rules",
    )


def found(severity: Severity = Severity.HIGH, estimated: Severity | None = None) -> Finding:
    return Finding(severity=severity, confidence=0.9, estimated=estimated)


def profile(**changes: object) -> Profile:
    keeps_size = {"upscale_4k": False, "require_sr_size": 0}
    return Profile.model_validate({**load_profile("default").model_dump(), **keeps_size, **changes})


def planned(perceived: Perception, wanted: Profile) -> list[Task]:
    return [step.task for step in plan(perceived, wanted, default_catalogue()).steps]


def test_a_clear_gain_is_planned_whether_or_not_the_degradation_was_named() -> None:
    perceived = perception(gains={Task.DENOISING: CLEAR, Task.DERAINING: NONE})
    assert planned(perceived, profile()) == [Task.DENOISING]


def test_findings_without_expected_gain_are_left_with_a_reason() -> None:
    perceived = perception({Degradation.MOTION_BLUR: found()}, {Task.MOTION_DEBLURRING: NONE})
    result = plan(perceived, profile(), default_catalogue())
    assert result.steps == ()
    assert any("motion blur (high) is left" in reason and "motion_deblurring" in reason for reason in result.reasons)


def test_found_tasks_without_gain_are_planned_after_those_with_gain() -> None:
    perceived = perception(
        {Degradation.NOISE: found(), Degradation.MOTION_BLUR: found()},
        {Task.DENOISING: CLEAR, Task.MOTION_DEBLURRING: NONE},
    )
    assert set(planned(perceived, profile())) == {Task.DENOISING, Task.MOTION_DEBLURRING}


@pytest.mark.parametrize(("denoising", "is_planned"), [(NONE, True), (CLEAR, False)])
def test_deblurring_is_planned_where_it_gains_more_than_denoising(denoising: TaskGain, is_planned: bool) -> None:
    perceived = perception(gains={Task.DENOISING: denoising, Task.DEFOCUS_DEBLURRING: CLEAR})
    assert (Task.DEFOCUS_DEBLURRING in planned(perceived, profile())) is is_planned


@pytest.mark.parametrize(
    ("task", "low_db", "median_db", "is_planned"),
    [
        (Task.DENOISING, -0.05, 0.3, True),
        (Task.DENOISING, -0.05, 0.2, False),
        (Task.DENOISING, -0.2, 2.0, False),
        (Task.DEFOCUS_DEBLURRING, -0.05, 0.3, False),
        (Task.DEFOCUS_DEBLURRING, -0.05, 0.6, True),
    ],
)
def test_a_probable_gain_is_enough(task: Task, low_db: float, median_db: float, is_planned: bool) -> None:
    perceived = perception(gains={task: TaskGain(low_db=low_db, median_db=median_db)})
    assert (task in planned(perceived, profile())) is is_planned


@pytest.mark.parametrize(("severity", "is_planned"), [(Severity.LOW, False), (Severity.MEDIUM, True)])
def test_doubtful_rain_is_left_where_denoising_gains_as_much(severity: Severity, is_planned: bool) -> None:
    perceived = perception({Degradation.RAIN: found(severity)}, {Task.DERAINING: CLEAR, Task.DENOISING: CLEAR})
    assert (Task.DERAINING in planned(perceived, profile())) is is_planned


@pytest.mark.parametrize(("noise", "is_planned"), [(NONE, False), (CLEAR, True)])
def test_compression_that_is_surely_absent_is_left_unless_noise_is_expected(
    noise: TaskGain, is_planned: bool
) -> None:
    gains = {Task.JPEG_ARTIFACT_REMOVAL: CLEAR, Task.DENOISING: noise}
    perceived = perception({Degradation.JPEG_ARTIFACT: found(Severity.VERY_LOW)}, gains)
    assert (Task.JPEG_ARTIFACT_REMOVAL in planned(perceived, profile())) is is_planned


def test_a_severe_degradation_is_tried_where_a_gain_is_possible() -> None:
    possible = TaskGain(low_db=-1.0, median_db=-0.1)
    perceived = perception({Degradation.DEFOCUS_BLUR: found()}, {Task.DEFOCUS_DEBLURRING: possible})
    assert planned(perceived, profile()) == [Task.DEFOCUS_DEBLURRING]


@pytest.mark.parametrize(("median", "is_planned"), [(0.5, False), (0.9, True)])
def test_severe_rain_without_a_clear_gain_is_left(median: float, is_planned: bool) -> None:
    """Reeds, bars and rows of windows are taken for it; rain gains several decibels."""
    perceived = perception({Degradation.RAIN: found()}, {Task.DERAINING: TaskGain(low_db=-0.6, median_db=median)})
    assert (Task.DERAINING in planned(perceived, profile())) is is_planned


@pytest.mark.parametrize(("sharpest_cell", "is_planned"), [(2.0, True), (0.2, False)])
def test_motion_blur_of_the_whole_picture_is_tried_though_denoising_may_gain_as_much(
    sharpest_cell: float, is_planned: bool
) -> None:
    possible = TaskGain(low_db=-1.0, median_db=0.1)
    everywhere = Finding(severity=Severity.MEDIUM, confidence=0.8, where=(3.0,) * 8 + (sharpest_cell,))
    perceived = perception(
        {Degradation.MOTION_BLUR: everywhere}, {Task.MOTION_DEBLURRING: possible, Task.DENOISING: possible}
    )
    assert (Task.MOTION_DEBLURRING in planned(perceived, profile())) is is_planned


TONE_ADJUSTMENTS = [
    (Degradation.DARK, Task.BRIGHTENING, "brightening"),
    (Degradation.HAZE, Task.DEHAZING, "dehazing"),
]


@pytest.mark.parametrize(("degradation", "task", "key"), TONE_ADJUSTMENTS)
@pytest.mark.parametrize(
    ("choice", "gain", "is_planned"),
    [
        ("auto", NONE, False),
        ("auto", LIKELY, False),
        ("auto", CLEAR, True),
        ("always", NONE, True),
        ("never", CLEAR, False),
    ],
)
def test_a_tone_adjustment_is_planned_as_the_profile_says(
    degradation: Degradation, task: Task, key: str, choice: str, gain: TaskGain, is_planned: bool
) -> None:
    perceived = perception({degradation: found()}, {task: gain})
    assert (task in planned(perceived, profile(**{key: choice}))) is is_planned


@pytest.mark.parametrize(("degradation", "task", "key"), TONE_ADJUSTMENTS)
def test_a_doubtful_tone_adjustment_is_reported_with_the_way_to_change_it(
    degradation: Degradation, task: Task, key: str
) -> None:
    perceived = perception({degradation: found()}, {task: NONE})
    reasons = plan(perceived, profile(**{key: "auto"}), default_catalogue()).reasons
    assert any("may be intended" in reason and f"ask for {task.value}" in reason for reason in reasons)
    assert not any(
        "may be intended" in reason
        for reason in plan(perceived, profile(**{key: "never"}), default_catalogue()).reasons
    )


HAZY_AND_NOISY = {Degradation.HAZE: found(), Degradation.NOISE: found()}
SMALL_GAIN = TaskGain(low_db=-0.5, median_db=0.5)


@pytest.mark.parametrize("other", [Degradation.NOISE, Degradation.RAIN, Degradation.DEFOCUS_BLUR])
def test_haze_beside_another_degradation_needs_less_gain_than_haze_alone(other: Degradation) -> None:
    unsure = TaskGain(low_db=-0.5, median_db=1.3)
    assert Task.DEHAZING not in planned(perception({Degradation.HAZE: found()}, {Task.DEHAZING: unsure}), profile())
    beside = perception({Degradation.HAZE: found(), other: found()}, {Task.DEHAZING: unsure})
    assert Task.DEHAZING in planned(beside, profile())
    dark = perception({Degradation.DARK: found(), other: found()}, {Task.BRIGHTENING: unsure})
    assert Task.BRIGHTENING not in planned(dark, profile())


@pytest.mark.parametrize(("choice", "is_planned"), [("auto", True), ("never", False)])
def test_haze_under_noise_is_decided_on_after_denoising(choice: str, is_planned: bool) -> None:
    perceived = perception(HAZY_AND_NOISY, {Task.DENOISING: CLEAR, Task.DEHAZING: SMALL_GAIN})
    result = plan(perceived, profile(dehazing=choice), default_catalogue())
    assert (Task.DEHAZING in [step.task for step in result.steps]) is is_planned
    assert (
        any("only if a gain is expected after the other steps" in reason for reason in result.reasons) is is_planned
    )


def test_haze_is_left_where_nothing_else_is_worth_a_step() -> None:
    perceived = perception(HAZY_AND_NOISY, {Task.DENOISING: NONE, Task.DEHAZING: SMALL_GAIN})
    assert planned(perceived, profile()) == []


def test_always_plans_brightening_and_dehazing() -> None:
    perceived = perception({Degradation.DARK: found(), Degradation.HAZE: found()})
    both = {Task.BRIGHTENING, Task.DEHAZING}
    assert both <= set(planned(perceived, load_profile("GenMIR-P")))
    assert not both & set(planned(perceived, load_profile("default")))


def test_requested_tasks_are_always_planned() -> None:
    perceived = perception({Degradation.DARK: found(Severity.LOW)}, {Task.BRIGHTENING: NONE})
    assert planned(perceived, profile(restore_option=["brightening"])) == [Task.BRIGHTENING]
    requested = perception({Degradation.DARK: found(estimated=Severity.VERY_LOW)}, {Task.BRIGHTENING: NONE})
    assert planned(requested, profile()) == [Task.BRIGHTENING]


@pytest.mark.parametrize(("old", "new"), [(True, "always"), (False, "never"), ("auto", "auto")])
def test_4kagent_switch_is_accepted(old: object, new: str) -> None:
    assert profile(brightening=old).brightening == new


@pytest.mark.parametrize(("at_first", "is_worth_it"), [(NONE, False), (LIKELY, True)])
def test_softness_that_only_the_cleaned_picture_has_is_left(at_first: TaskGain, is_worth_it: bool) -> None:
    perceived = perception({Degradation.DEFOCUS_BLUR: found(Severity.MEDIUM)}, {Task.DEFOCUS_DEBLURRING: at_first})
    now = {Task.DENOISING: NONE, Task.DEFOCUS_DEBLURRING: CLEAR}
    assert is_worth_a_step(Task.DEFOCUS_DEBLURRING, perceived, now, profile()) is is_worth_it


@pytest.mark.parametrize(("severity", "is_planned"), [(Severity.VERY_LOW, False), (Severity.MEDIUM, True)])
def test_rain_that_is_not_found_is_left_whatever_gain_is_expected(severity: Severity, is_planned: bool) -> None:
    perceived = perception({Degradation.RAIN: found(severity)}, {Task.DERAINING: CLEAR})
    assert (Task.DERAINING in planned(perceived, profile())) is is_planned
    assert Task.DERAINING not in planned(perception(gains={Task.DERAINING: CLEAR}), profile())
