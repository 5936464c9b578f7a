"""Turns the findings in a picture and a profile into an ordered plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.errors import PlanError
from agent.reasoners.reasoner import CALLER, RULES, Ordering, Reasoner
from agent.state import Perception, Plan, Step, expert_of
from agent.worth import doubts, is_requested, is_worth_a_step, may_become_worth_a_step
from imaging.resizing import fitted
from profiles.schema import Profile
from toolbox.catalogue import Catalogue
from toolbox.tasks import GAIN_TASKS, Degradation, Task

SCALE_CHAINS: dict[int, tuple[int, ...]] = {1: (), 2: (2,), 4: (4,), 8: (2, 4), 16: (4, 4)}
"""The super-resolution steps of each enlargement (4KAgent: 8 = 2 x 4, 16 = 4 x 4). Where texture is wanted,
8 = 4 x 2: networks that generate it are slow, and run before the picture has four times as many pixels.
"""
FOUR_K_TOLERANCE = 4000 / 4096
"""4KAgent accepts 4000 of 4096 pixels from the experts; the rest is resized."""


def plan(perception: Perception, profile: Profile, catalogue: Catalogue, reasoner: Reasoner = RULES) -> Plan:
    """The plan for an image with this perception.

    Raises `PlanError` if the profile asks for an enlargement that no expert offers.
    """
    factor = enlargement(max(perception.width, perception.height), profile)
    wanted = _wanted_tasks(perception, profile)
    possible = [task for task in wanted if any(card.task is task for card in catalogue)]
    warnings = [
        f"no expert for {task.value} is installed; the step is left out" for task in wanted if task not in possible
    ]
    known = {card.name for card in catalogue}
    warnings += [f"there is no expert {name}" for name in profile.experts if expert_of(name) not in known]
    ordering = _ordering(possible, perception, profile, reasoner)
    steps = _with_faces_between(_with_scales(ordering.tasks, factor, profile))
    for step in steps:
        if step.task is Task.SUPER_RESOLUTION and not catalogue.for_task(step.task, step.scale):
            raise PlanError(f"no expert enlarges {step.scale}x", "install one, or choose another scale")
    width, height, size_warnings = _final_size(perception.width, perception.height, profile, factor)
    return Plan(
        steps=steps,
        final_width=width,
        final_height=height,
        reasons=(*ordering.reasons, *doubts(perception, possible, profile)),
        warnings=(*warnings, *size_warnings),
        by=ordering.by,
    )


def reorder(
    remaining_steps: Sequence[Step], failed: Mapping[Step, str], perception: Perception, reasoner: Reasoner
) -> tuple[Step, ...]:
    """The same steps, reordered by the reasoner so that none of the `failed` ones comes first.

    `failed`: steps with the reasons of their failure. Super-resolution steps stay together.
    """
    same_size = {step.task: step for step in remaining_steps if step.task is not Task.SUPER_RESOLUTION}
    chain = [step for step in remaining_steps if step.task is Task.SUPER_RESOLUTION]
    tasks = [*same_size, *([Task.SUPER_RESOLUTION] if chain else [])]
    ordering = reasoner.order(tasks, perception, {step.task: why for step, why in failed.items()})
    steps: list[Step] = []
    for task in ordering.tasks:
        steps += chain if task is Task.SUPER_RESOLUTION else [same_size[task]]
    return _with_faces_between(steps)


def enlargement(long_side: int, profile: Profile) -> int:
    """The factor by which experts enlarge a picture with this longer side: 1, 2, 4, 8 or 16.

    The profile's `scale_factor`; for 4K the smallest factor that reaches it, at most 16; otherwise 4 for images below
    `require_sr_size`, as in 4KAgent. 1 for a plan without super-resolution.
    """
    asked = profile.plan or ()
    if profile.plan is not None and Task.SUPER_RESOLUTION not in asked:
        return 1
    if profile.scale_factor is not None:
        return profile.scale_factor
    if profile.upscale_4k:
        target = FOUR_K_TOLERANCE * profile.long_side
        return next((factor for factor in SCALE_CHAINS if factor * long_side >= target), 16)
    asked = profile.restore_option or asked
    return 4 if Task.SUPER_RESOLUTION in asked or long_side < profile.require_sr_size else 1


def result_sizes(width: int, height: int, profile: Profile) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height of the picture that experts enlarge, and those of the result."""
    factor = enlargement(max(width, height), profile)
    final_width, final_height, _ = _final_size(width, height, profile, factor)
    return (width * factor, height * factor), (final_width, final_height)


def _final_size(input_width: int, input_height: int, profile: Profile, factor: int) -> tuple[int, int, list[str]]:
    """Width and height of the result, and warnings if experts do not reach the profile's long side."""
    longer, wanted = max(input_width, input_height), profile.long_side
    width, height, warnings = input_width * factor, input_height * factor, list[str]()
    keeps_size = profile.plan is not None and Task.SUPER_RESOLUTION not in profile.plan
    if not profile.upscale_4k or profile.scale_factor is not None or keeps_size:
        return width, height, warnings
    if longer > wanted:
        warnings = [f"the longer side already has {longer} pixels, more than {wanted}: the size is kept"]
    elif factor * longer < FOUR_K_TOLERANCE * wanted:
        warnings = [f"enlarging {longer} pixels 16 times does not reach {wanted}: the rest is resized"]
    if longer < wanted:
        height, width = fitted(input_height, input_width, wanted)
    return width, height, warnings


def _wanted_tasks(perception: Perception, profile: Profile) -> list[Task]:
    """Each task once, in no particular order; super-resolution is added by the enlargement, not by a finding."""
    if profile.plan is not None:
        return list(dict.fromkeys(profile.plan))
    found = _found_tasks(perception, profile)
    if profile.restore_option is None:
        tasks = found
    else:
        # `face_restore` applies in addition to `restore_option`, as in 4KAgent's SRFR profiles.
        tasks = [*profile.restore_option, *(task for task in found if task is Task.FACE_RESTORATION)]
    if profile.old_photo_restoration:
        tasks.append(Task.OLD_PHOTO_RESTORATION)  # Age is not estimated: the profile requests the task.
    explicit = profile.restore_option or ()
    tasks = [task for task in tasks if task in explicit or profile.allows(task)]
    if enlargement(max(perception.width, perception.height), profile) > 1:
        tasks.append(Task.SUPER_RESOLUTION)
    return list(dict.fromkeys(tasks))


def _found_tasks(perception: Perception, profile: Profile) -> list[Task]:
    """Tasks that are worth a step, and found tasks whose gain is not predicted.

    If any is worth a step, also the other found tasks that may become worth one.
    """
    found = [name.task for name in perception.present() if name is not Degradation.LOW_RESOLUTION]
    offered = found if perception.by == CALLER else GAIN_TASKS  # a caller may say that nothing is wrong
    worth = [
        task
        for task in GAIN_TASKS
        if (task in found and is_requested(task, perception, profile))
        or (task in offered and is_worth_a_step(task, perception, perception.gains, profile))
    ]
    later = [
        task
        for task in found
        if not task.spec.gain_is_predicted or (worth and may_become_worth_a_step(task, perception, profile))
    ]
    return list(dict.fromkeys([*worth, *later]))


def _ordering(tasks: list[Task], perception: Perception, profile: Profile, reasoner: Reasoner) -> Ordering:
    if profile.plan is not None:
        return Ordering(
            tuple(task for task in profile.plan if task in tasks), ("the profile gives the plan",), "profile"
        )
    return reasoner.order(tasks, perception, {})


def _with_scales(tasks: Sequence[Task], factor: int, profile: Profile) -> tuple[Step, ...]:
    """Steps for tasks; super-resolution becomes the chain of its scales.

    A profile's own plan may name super-resolution several times: its entries then take the chain's scales in turn.
    """
    chain = sorted(SCALE_CHAINS[factor], reverse=profile.wants_texture)
    named = sum(task is Task.SUPER_RESOLUTION for task in tasks)
    steps: list[Step] = []
    for task in tasks:
        if task is not Task.SUPER_RESOLUTION:
            steps.append(Step(task=task))
            continue
        named -= 1
        taken, chain = (chain, []) if named == 0 else (chain[:1], chain[1:])
        steps += [Step(task=task, scale=2 if scale == 2 else 4) for scale in taken]
    return tuple(steps)


def _with_faces_between(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Add face restoration after every enlargement if the plan has it after the last one, as in 4KAgent: the next
    enlargement builds on the faces.
    """
    faces, planned = Step(task=Task.FACE_RESTORATION), list[Step]()
    for index, step in enumerate(steps):
        planned.append(step)
        left = steps[index + 1 :]
        if step.task is Task.SUPER_RESOLUTION and faces in left and left[0] != faces:
            planned.append(faces)
    return tuple(planned)
