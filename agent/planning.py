"""From what is wrong and what the profile wants to an ordered plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from agent.errors import PlanError
from agent.reasoners.reasoner import RULES, Ordering, Reasoner
from agent.state import Perception, Plan, Step
from imaging.resizing import fitted
from profiles.schema import Profile
from toolbox.catalogue import Catalogue
from toolbox.tasks import Degradation, Task

SCALE_CHAINS: dict[int, tuple[int, ...]] = {1: (), 2: (2,), 4: (4,), 8: (2, 4), 16: (4, 4)}
"""Which super-resolution steps make which enlargement (4KAgent: 8 = 2 x 4, 16 = 4 x 4)."""
SURE = 0.6
"""Least confidence in darkness or haze: treating a photo that is dark or pale by nature does the most harm.

Between 0.5 and 0.6 as many alarms are false as are true (7 and 6 of 800 held-out photos).
"""
FOUR_K_TOLERANCE = 4000 / 4096
"""4KAgent is content with 4000 of 4096 pixels from the experts; a plain resize gives the rest."""


def plan(perception: Perception, profile: Profile, catalogue: Catalogue, reasoner: Reasoner = RULES) -> Plan:
    """The plan for an image that was perceived so.

    Raises `PlanError` where the profile asks for an enlargement that no expert offers.
    """
    warnings: list[str] = []
    factor = enlargement(perception, profile)
    wanted = _wanted_tasks(perception, profile)
    possible = [task for task in wanted if _has_expert(task, catalogue)]
    warnings += [
        f"no expert for {task.value} is installed; the step is left out" for task in wanted if task not in possible
    ]
    known = {card.name for card in catalogue}
    warnings += [f"there is no expert {name}" for name in profile.experts if name not in known]
    ordering = _ordering(possible, perception, profile, reasoner)
    steps = _with_faces_between(_with_scales(ordering.tasks, factor, profile))
    for step in steps:
        if step.task is Task.SUPER_RESOLUTION and not catalogue.for_task(step.task, step.scale):
            raise PlanError(f"no expert enlarges {step.scale}x", "install one, or choose another scale")
    width, height = _final_size(perception, profile, factor)
    if profile.upscale_4k and profile.scale_factor is None and not _keeps_size(profile):
        warnings += _size_warnings(max(perception.width, perception.height), profile.long_side, factor)
    return Plan(
        steps=steps,
        final_width=width,
        final_height=height,
        reasons=ordering.reasons,
        warnings=tuple(warnings),
        by=ordering.by,
    )


def reorder(
    remaining_steps: Sequence[Step], failed: Mapping[Step, str], perception: Perception, reasoner: Reasoner
) -> tuple[Step, ...]:
    """The same steps in an order that does not begin with what has failed, for the reasons that are given.

    Super-resolution steps stay chained.
    """
    same_size = {step.task: step for step in remaining_steps if step.task is not Task.SUPER_RESOLUTION}
    chain = [step for step in remaining_steps if step.task is Task.SUPER_RESOLUTION]
    tasks = [*same_size, *([Task.SUPER_RESOLUTION] if chain else [])]
    ordering = reasoner.order(tasks, perception, {step.task: why for step, why in failed.items()})
    steps: list[Step] = []
    for task in ordering.tasks:
        steps += chain if task is Task.SUPER_RESOLUTION else [same_size[task]]
    return _with_faces_between(steps)


class Sized(Protocol):
    """Anything with a size."""

    @property
    def width(self) -> int:
        """In pixels."""

    @property
    def height(self) -> int:
        """In pixels."""


def enlargement(picture: Sized, profile: Profile) -> int:
    """How many times experts shall enlarge: 1, 2, 4, 8 or 16.

    `scale_factor` as it stands; for 4K the smallest that reaches it (16 where none does); otherwise 4 for an image
    below `require_sr_size`, as in 4KAgent. A plan without super-resolution enlarges nothing.
    """
    longer = max(picture.width, picture.height)
    if _keeps_size(profile):
        return 1
    if profile.scale_factor is not None:
        return profile.scale_factor
    if profile.upscale_4k:
        target = FOUR_K_TOLERANCE * profile.long_side
        return next((factor for factor in SCALE_CHAINS if factor * longer >= target), 16)
    asked = profile.restore_option or profile.plan or ()
    if Task.SUPER_RESOLUTION in asked or longer < profile.require_sr_size:
        return 4
    return 1


def _keeps_size(profile: Profile) -> bool:
    """Whether somebody has given a plan, and it does not enlarge."""
    return profile.plan is not None and Task.SUPER_RESOLUTION not in profile.plan


def _size_warnings(longer: int, long_side: int, factor: int) -> list[str]:
    if longer > long_side:
        return [f"the longer side has {longer} pixels, more than the {long_side} to reach: the size stays as it is"]
    if factor * longer < FOUR_K_TOLERANCE * long_side:
        return [f"even 16x brings {longer} pixels not to {long_side}: the rest is plain resizing"]
    return []


def _final_size(perception: Perception, profile: Profile, factor: int) -> tuple[int, int]:
    longer = max(perception.width, perception.height)
    to_4k = profile.upscale_4k and profile.scale_factor is None and not _keeps_size(profile)
    if to_4k and longer < profile.long_side:
        height, width = fitted(perception.height, perception.width, profile.long_side)
        return width, height
    return perception.width * factor, perception.height * factor


def _wanted_tasks(perception: Perception, profile: Profile) -> list[Task]:
    """Each task once, in no particular order; super-resolution is added by the enlargement, not by a finding."""
    if profile.plan is not None:
        return list(dict.fromkeys(profile.plan))
    found = [name.task for name in perception.present() if _is_worth_a_step(name, perception)]
    if profile.restore_option is None:
        tasks = found
    else:
        # Faces have a switch of their own, whatever else is asked for: 4KAgent's profiles with SRFR in their names.
        tasks = [*profile.restore_option, *(task for task in found if task is Task.FACE_RESTORATION)]
    if profile.old_photo_restoration:
        tasks.append(Task.OLD_PHOTO_RESTORATION)  # Nobody looks for age: who chooses such a profile knows.
    explicit = profile.restore_option or ()
    tasks = [task for task in tasks if task in explicit or profile.allows(task)]
    if enlargement(perception, profile) > 1:
        tasks.append(Task.SUPER_RESOLUTION)
    return list(dict.fromkeys(tasks))


def _is_worth_a_step(name: Degradation, perception: Perception) -> bool:
    least = SURE if name.task.spec.is_global else 0.0
    return name is not Degradation.LOW_RESOLUTION and perception.findings[name].confidence >= least


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
    chain = list(SCALE_CHAINS[factor])
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
    """Where faces are restored after enlarging, they are restored after every enlargement, as in 4KAgent: the next
    one builds on them.
    """
    faces, planned = Step(task=Task.FACE_RESTORATION), list[Step]()
    for index, step in enumerate(steps):
        planned.append(step)
        left = steps[index + 1 :]
        if step.task is Task.SUPER_RESOLUTION and faces in left and left[0] != faces:
            planned.append(faces)
    return tuple(planned)


def _has_expert(task: Task, catalogue: Catalogue) -> bool:
    return any(card.task is task for card in catalogue)
