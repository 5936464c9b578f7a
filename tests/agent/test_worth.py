"""Which steps are planned: what the picture is expected to gain decides, unless somebody asks."""

from __future__ import annotations

import pytest

from agent.planning import plan
from agent.state import Finding, Perception, TaskGain
from profiles.loading import load_profile
from profiles.schema import Profile
from toolbox.catalogue import default_catalogue
from toolbox.tasks import Degradation, Severity, Task

NONE = TaskGain(low_db=-1.0, median_db=-0.2)
CLEAR = TaskGain(low_db=0.4, median_db=1.5)


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


def planned(seen: Perception, wanted: Profile) -> list[Task]:
    return [step.task for step in plan(seen, wanted, default_catalogue()).steps]


def test_a_clear_gain_is_planned_whether_or_not_the_degradation_was_named() -> None:
    seen = perception(gains={Task.DENOISING: CLEAR, Task.DERAINING: NONE})
    assert planned(seen, profile()) == [Task.DENOISING]


def test_what_was_found_but_is_not_expected_to_gain_is_left_and_said() -> None:
    seen = perception({Degradation.MOTION_BLUR: found()}, {Task.MOTION_DEBLURRING: NONE})
    made = plan(seen, profile(), default_catalogue())
    assert made.steps == ()
    assert any("motion blur (high) is left" in reason and "motion_deblurring" in reason for reason in made.reasons)


def test_what_does_not_gain_yet_is_planned_beside_what_does() -> None:
    seen = perception(
        {Degradation.NOISE: found(), Degradation.MOTION_BLUR: found()},
        {Task.DENOISING: CLEAR, Task.MOTION_DEBLURRING: NONE},
    )
    assert set(planned(seen, profile())) == {Task.DENOISING, Task.MOTION_DEBLURRING}


TONES = [
    (Degradation.DARK, Task.BRIGHTENING, "brightening"),
    (Degradation.HAZE, Task.DEHAZING, "dehazing"),
]


@pytest.mark.parametrize(("degradation", "task", "key"), TONES)
@pytest.mark.parametrize(
    ("choice", "gain", "is_planned"),
    [
        ("auto", NONE, False),
        ("auto", CLEAR, True),
        ("always", NONE, True),
        ("never", CLEAR, False),
    ],
)
def test_tone_is_changed_as_the_profile_says(
    degradation: Degradation, task: Task, key: str, choice: str, gain: TaskGain, is_planned: bool
) -> None:
    seen = perception({degradation: found()}, {task: gain})
    assert (task in planned(seen, profile(**{key: choice}))) is is_planned


@pytest.mark.parametrize(("degradation", "task", "key"), TONES)
def test_a_doubtful_tone_is_reported_with_the_way_to_change_it(
    degradation: Degradation, task: Task, key: str
) -> None:
    seen = perception({degradation: found()}, {task: NONE})
    reasons = plan(seen, profile(**{key: "auto"}), default_catalogue()).reasons
    assert any("by nature" in reason and f"ask for {task.value}" in reason for reason in reasons)
    assert not any(
        "by nature" in reason for reason in plan(seen, profile(**{key: "never"}), default_catalogue()).reasons
    )


def test_a_profile_for_light_and_clear_air_always_asks_for_them() -> None:
    seen = perception({Degradation.DARK: found(), Degradation.HAZE: found()})
    both = {Task.BRIGHTENING, Task.DEHAZING}
    assert both <= set(planned(seen, load_profile("GenMIR-P")))
    assert not both & set(planned(seen, load_profile("default")))


def test_what_a_person_asks_for_is_planned_in_any_case() -> None:
    seen = perception({Degradation.DARK: found(Severity.LOW)}, {Task.BRIGHTENING: NONE})
    assert planned(seen, profile(restore_option=["brightening"])) == [Task.BRIGHTENING]
    said = perception({Degradation.DARK: found(estimated=Severity.VERY_LOW)}, {Task.BRIGHTENING: NONE})
    assert planned(said, profile()) == [Task.BRIGHTENING]


@pytest.mark.parametrize(("old", "new"), [(True, "always"), (False, "never"), ("auto", "auto")])
def test_4kagents_switch_is_understood(old: object, new: str) -> None:
    assert profile(brightening=old).brightening == new
