"""From findings and a profile to an ordered plan."""

from __future__ import annotations

import itertools

import pytest

from agent.errors import PlanError
from agent.ordering import best_order, gain_db
from agent.planning import enlargement, plan, reorder
from agent.reasoners.reasoner import RULES
from agent.state import Finding, Perception, Step, TaskGain
from profiles.loading import load_profile
from profiles.schema import Profile
from toolbox.card import ClassicalCard, ExpertCard
from toolbox.catalogue import Catalogue
from toolbox.tasks import GAIN_TASKS, Degradation, Severity, Task


def card(task: Task, scale: int = 1) -> ExpertCard:
    return ClassicalCard.model_validate(
        {
            "name": f"{task.value}_{scale}",
            "task": task,
            "scale": scale,
            "loader": "classical",
            "function": "none:none",
            "about": "",
            "source": "",
        }
    )


CATALOGUE = Catalogue(
    (*(card(task) for task in GAIN_TASKS), card(Task.SUPER_RESOLUTION, 2), card(Task.SUPER_RESOLUTION, 4))
)


def perception_of(*degradations: Degradation, width: int = 256, height: int = 256) -> Perception:
    """An image with these degradations, each high."""
    return Perception(
        width=width,
        height=height,
        quality=0.5,
        metrics={},
        findings={
            name: Finding(severity=Severity.HIGH if name in degradations else Severity.VERY_LOW, confidence=0.9)
            for name in Degradation
        },
        gains={name.task: TaskGain(low_db=1.5, median_db=2.0) for name in degradations},
        description="",
        by="test",
    )


def profile(**keys: object) -> Profile:
    return Profile.model_validate({"name": "test", "brightening": True, **keys})


def steps(perception: Perception, wanted: Profile) -> list[str]:
    return [str(step) for step in plan(perception, wanted, CATALOGUE).steps]


@pytest.mark.parametrize(
    ("longer", "chain"),
    [
        (256, ["super_resolution 4x", "super_resolution 4x"]),
        (500, ["super_resolution 2x", "super_resolution 4x"]),
        (1000, ["super_resolution 4x"]),
        (1001, ["super_resolution 4x"]),
        (2000, ["super_resolution 2x"]),
        (4000, []),
        (9000, []),
    ],
)
def test_the_chain_to_4k_is_the_smallest_that_reaches_it(longer: int, chain: list[str]) -> None:
    assert steps(perception_of(width=longer, height=longer // 2), profile()) == chain


@pytest.mark.parametrize("longer", [17, 256, 999, 1024, 3000, 4095])
def test_the_longer_side_becomes_exactly_4096_and_the_aspect_is_kept(longer: int) -> None:
    planned = plan(perception_of(width=longer, height=longer * 2 // 3), profile(), CATALOGUE)
    assert planned.final_width == 4096
    assert planned.final_height == pytest.approx(4096 * (longer * 2 // 3) / longer, abs=0.5)


def test_an_image_larger_than_4k_keeps_its_size_with_a_warning() -> None:
    planned = plan(perception_of(width=5000, height=3000), profile(), CATALOGUE)
    assert (planned.final_width, planned.final_height) == (5000, 3000)
    assert any("the size is kept" in warning for warning in planned.warnings)


def test_a_size_beyond_16x_gives_a_warning() -> None:
    assert any(
        "the rest is resized" in warning
        for warning in plan(perception_of(width=100, height=80), profile(), CATALOGUE).warnings
    )


def test_a_scale_factor_outranks_4k() -> None:
    planned = plan(perception_of(), profile(scale_factor=8), CATALOGUE)
    assert [str(step) for step in planned.steps] == ["super_resolution 2x", "super_resolution 4x"]
    assert (planned.final_width, planned.final_height) == (2048, 2048)


@pytest.mark.parametrize("name", ["Gen4K-P", "Gen4K-F", "default"])
def test_where_texture_is_wanted_the_first_enlargement_is_the_one_by_4(name: str) -> None:
    """Networks that generate texture enlarge by 4, and take sixteen times as long on what is enlarged already."""
    wanted = load_profile(name)
    scales = [
        step.scale for step in plan(perception_of(width=512, height=288), wanted, CATALOGUE).steps if step.scale > 1
    ]
    assert scales == ([4, 2] if wanted.wants_texture else [2, 4])


@pytest.mark.parametrize(("longer", "factor"), [(299, 4), (300, 1)])
def test_without_4k_only_small_images_are_enlarged(longer: int, factor: int) -> None:
    assert enlargement(longer, profile(upscale_4k=False)) == factor


def test_every_finding_becomes_a_task_before_super_resolution() -> None:
    planned = steps(perception_of(*Degradation), profile())
    assert set(planned[:-2]) == {task.value for task in GAIN_TASKS}
    assert planned[-2:] == ["super_resolution 4x"] * 2


def test_mild_findings_are_not_treated() -> None:
    mild = perception_of().model_copy(
        update={"findings": {Degradation.NOISE: Finding(severity=Severity.LOW, confidence=1)}}
    )
    assert steps(mild, profile(upscale_4k=False, require_sr_size=0)) == []


def test_brightening_needs_its_switch() -> None:
    assert "brightening" not in steps(perception_of(Degradation.DARK), profile(brightening=False))
    assert "brightening" in steps(perception_of(Degradation.DARK), profile(brightening=True))


def test_explicit_tasks_are_done_whatever_is_found() -> None:
    wanted = profile(restore_option="dehazing+denoising", scale_factor=2)
    assert steps(perception_of(Degradation.RAIN), wanted) == ["denoising", "dehazing", "super_resolution 2x"]


def test_a_given_plan_is_followed_exactly() -> None:
    wanted = profile(plan=["super-resolution", "denoising", "super-resolution", "denoising"], scale_factor=8)
    assert steps(perception_of(), wanted) == ["super_resolution 2x", "denoising", "super_resolution 4x", "denoising"]


def test_a_task_without_an_expert_is_omitted_with_a_warning() -> None:
    planned = plan(perception_of(Degradation.NOISE), profile(), Catalogue((card(Task.SUPER_RESOLUTION, 4),)))
    assert [step.task for step in planned.steps] == [Task.SUPER_RESOLUTION] * 2
    assert any("denoising" in warning for warning in planned.warnings)


def test_an_enlargement_that_no_expert_offers_is_an_error() -> None:
    with pytest.raises(PlanError, match="2x"):
        plan(perception_of(), profile(scale_factor=2), Catalogue((card(Task.SUPER_RESOLUTION, 4),)))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("denoising", "brightening"),
        ("defocus_deblurring", "dehazing"),
        ("deraining", "dehazing"),
    ],
)
def test_published_order_knowledge_is_followed_with_its_reason(first: str, then: str) -> None:
    planned = plan(perception_of(*Degradation), profile(), CATALOGUE)
    order = [step.task.value for step in planned.steps]
    assert order.index(first) < order.index(then)
    assert any(reason.startswith(f"{first} before {then}:") for reason in planned.reasons)


@pytest.mark.parametrize("tasks", list(itertools.combinations(GAIN_TASKS, 5)), ids=" ".join)
def test_no_other_order_gains_more(tasks: tuple[Task, ...]) -> None:
    def gain(order: tuple[Task, ...]) -> float:
        return sum(gain_db(first, then) for first, then in itertools.combinations(order, 2))

    assert gain(best_order(tasks)) == pytest.approx(max(map(gain, itertools.permutations(tasks))))


def test_a_new_order_does_not_begin_with_what_failed() -> None:
    remaining_steps = [Step(task=Task.DENOISING), Step(task=Task.DEHAZING), Step(task=Task.SUPER_RESOLUTION, scale=4)]
    again = reorder(remaining_steps, {remaining_steps[0]: "no expert helped"}, perception_of(), RULES)
    assert again[0] == remaining_steps[1]
    assert set(again) == set(remaining_steps)
    assert again[-1].task is Task.SUPER_RESOLUTION


def test_super_resolution_steps_stay_together_in_a_new_order() -> None:
    chain = [Step(task=Task.SUPER_RESOLUTION, scale=2), Step(task=Task.SUPER_RESOLUTION, scale=4)]
    remaining_steps = [Step(task=Task.DENOISING), Step(task=Task.DEHAZING), *chain]
    assert (
        list(reorder(remaining_steps, {remaining_steps[0]: "no expert helped"}, perception_of(), RULES)[-2:]) == chain
    )


@pytest.mark.parametrize(("confidence", "tasks"), [(0.55, []), (0.65, ["brightening"])])
def test_a_doubtful_darkness_is_left_alone(confidence: float, tasks: list[str]) -> None:
    perception = perception_of(width=4096, height=4096)
    doubtful = Finding(severity=Severity.MEDIUM, confidence=confidence)
    perception = perception.model_copy(update={"findings": {**perception.findings, Degradation.DARK: doubtful}})
    assert steps(perception, profile()) == tasks


def test_an_unknown_expert_in_a_profile_gives_a_warning() -> None:
    wanted = profile(experts=("denoising_1", "magic"))
    assert plan(perception_of(Degradation.NOISE), wanted, CATALOGUE).warnings == ("there is no expert magic",)
