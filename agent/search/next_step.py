"""The choice of the next step and the handling of its result, for the loop and for the step tools."""

from __future__ import annotations

import math

from agent.search.rollback import reflect, remaining_without_first, resume_better_branch
from agent.search.search_state import SearchState
from agent.state import HALF_CLEANED, KEEP_INPUT, UNTOUCHED, Node, Step, Verdict, expert_of
from agent.step import StepResult
from agent.step_context import StepContext
from agent.worth import is_requested, is_worth_a_step, task_gains
from imaging.image import Image
from iqa.degradations import estimates_from
from iqa.features import ImageFeatures
from iqa.quality import rollback_threshold
from profiles.schema import Profile
from toolbox.tasks import Severity, Task

FIRST_ENLARGEMENT_SECONDS, EXPERT_SECONDS = 240.0, 15.0
SHARE_OF_BUDGET = 0.7
"""Share of the remaining `max_seconds` that one expert may take."""


def choose_next_step(search: SearchState) -> None:
    """Move the most helpful step to the front. If only late steps remain, continue from the better branch."""
    _put_most_helpful_step_first(search)
    remaining_steps = search.node.remaining_steps
    if not remaining_steps or remaining_steps[0].task.spec.is_late:
        resume_better_branch(search)


def context_of(search: SearchState, step: Step, profile: Profile) -> StepContext:
    """The inputs of a step on the current image."""
    perception, is_planned = search.state.perception, step in search.node.remaining_steps
    return StepContext(
        search.image,
        step,
        profile,
        search.experts,
        search.features,
        timer=search.timer,
        description=perception.description if perception else "",
        original=search.input_image if step.task is Task.FACE_RESTORATION else None,
        is_enlarged=Task.SUPER_RESOLUTION in _tasks_done(search),
        is_requested=perception is None
        or not is_planned
        or is_requested(step.task, perception, search.state.profile),
        expert_seconds=_expert_seconds(search, profile),
        other_inputs=_other_inputs(search, step),
    )


def child_of(search: SearchState, result: StepResult, profile: Profile, *, gone: bool = False) -> Node:
    """The node of the first remaining step's result. `gone`: the degradation had already been removed."""
    node, best = search.node, result.best
    verdict = best.verdict if best else Verdict(expert=KEEP_INPUT, score=0.0)
    image = (best.image if best else None) or search.image
    changed = verdict.expert != KEEP_INPUT
    step = node.remaining_steps[0]
    return Node(
        id=len(search.state.nodes),
        parent=node.id,
        step=step,
        expert=verdict.expert,
        width=image.width,
        height=image.height,
        score=verdict.score,
        verdicts=result.verdicts,
        margin=result.margin,
        faces=best.faces if best else None,
        failed=not gone and _has_failed(step, verdict, profile),
        remaining_steps=node.remaining_steps[1:] if changed else remaining_without_first(node),
        failed_first_steps=() if changed else node.failed_first_steps,
    )


def follow(search: SearchState, child: Node, image: Image | None, features: ImageFeatures | None) -> None:
    """Continue from a step's result; if the step failed, from the node that rollback chooses."""
    if child.failed and child.step:
        reflect(search, child.step)
    else:
        search.move_to(child, image, features)


def is_gone_already(search: SearchState, step: Step) -> bool:
    """Whether an earlier step has removed the degradation of `step` as a side effect.

    False for degradations that only a caller or model reported: the estimator cannot tell whether they were removed.
    """
    found, profile = search.perception.findings.get(step.task.degradation), search.state.profile
    if not (found and found.present) or not step.task.spec.can_be_side_effect or not profile.keep_input:
        return False
    if search.node.step is None or profile.plan is not None:
        return False
    now = estimates_from(search.features).get(step.task.degradation)
    return found.estimated is not Severity.VERY_LOW and now is not None and now.severity is Severity.VERY_LOW


def _put_most_helpful_step_first(search: SearchState) -> None:
    """Move the remaining step with the largest expected gain to the front.

    Steps without expected gain are dropped if no early step has any: an earlier step has removed their degradation,
    or no expert gains on it. Requested tasks are done in any case.
    """
    node, profile = search.node, search.state.profile
    early = [step for step in node.remaining_steps if not step.task.spec.is_late]
    if not early or not profile.keep_input or profile.plan is not None:
        return
    with search.timer.section("perception"):
        gains = task_gains(search.features)
    requested = {step for step in early if is_requested(step.task, search.perception, profile)}
    helpful = [
        step for step in early if step in requested or is_worth_a_step(step.task, search.perception, gains, profile)
    ]

    def expected_db(step: Step) -> float:  # requested steps come first, in the order of the plan
        return math.inf if step in requested or step.task not in gains else gains[step.task].median_db

    first = max((step for step in helpful if step not in node.failed_first_steps), key=expected_db, default=None)
    if first is None:
        steps = (*helpful, *(step for step in node.remaining_steps if step.task.spec.is_late))
    else:
        steps = (first, *(step for step in node.remaining_steps if step != first))
    if steps != node.remaining_steps:
        search.put(node.model_copy(update={"remaining_steps": steps}))


def _expert_seconds(search: SearchState, profile: Profile) -> float:
    """The time limit of one expert on a CPU: minutes for the first enlargement of a profile that favours texture.

    At a second enlargement the picture already has texture, and sixteen times as many pixels.
    """
    is_first = Task.SUPER_RESOLUTION not in _tasks_done(search)
    seconds = FIRST_ENLARGEMENT_SECONDS if profile.favours_texture and is_first else EXPERT_SECONDS
    if profile.max_seconds is None:
        return seconds
    return min(seconds, SHARE_OF_BUDGET * max(0.0, profile.max_seconds - search.timer.total()))


def _other_inputs(search: SearchState, step: Step) -> dict[str, Image]:
    """Further inputs of the first enlargement after cleaning: the uncleaned picture, and its mean with the cleaned
    one, which keeps more texture. None after tasks other than cleaning, which super-resolution networks cannot do.
    """
    done = _tasks_done(search)
    if step.task is not Task.SUPER_RESOLUTION or not done or not all(task.spec.is_cleaning for task in done):
        return {}
    untouched, cleaned = search.input_image, search.image
    halfway = cleaned.with_pixels((untouched.pixels + cleaned.pixels) / 2)
    return {UNTOUCHED: untouched, HALF_CLEANED: halfway}


def _tasks_done(search: SearchState) -> list[Task]:
    """The tasks that changed the image since the input."""
    path = search.state.path_to(search.node.id)
    return [node.step.task for node in path if node.step and node.expert != KEEP_INPUT]


def _has_failed(step: Step, best: Verdict, profile: Profile) -> bool:
    if step.task is Task.FACE_RESTORATION:
        return False  # Each face is decided separately; an untouched face is not a failure.
    if best.expert == KEEP_INPUT:
        return True
    if expert_of(best.expert) in map(expert_of, profile.experts):
        return False  # The result of a named expert is always accepted.
    published = rollback_threshold(best.metrics)
    return best.score < profile.rollback_below or (published is not None and best.quality < published)
