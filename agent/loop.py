"""The loop of a run: perceive, plan, take one step after another, roll back where one hurts, finish."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from agent.events import CandidateJudged, Finished, Perceived, Planned, StepFinished, StepStarted
from agent.finishing import finish
from agent.judging import Candidate
from agent.planning import perceive_and_plan
from agent.reasoners.reasoner import Reasoner
from agent.rollback import left_of, reflect, resume_better_branch
from agent.run_context import RunContext
from agent.state import KEEP_INPUT, Node, Perception, Step, TaskGain, Verdict
from agent.step import experts_for, run_step
from agent.step_context import StepContext
from agent.worth import is_requested, is_worth_a_step, task_gains
from imaging.image import Image
from imaging.writing import write_image
from iqa.degradations import estimates_from
from iqa.features import ImageFeatures
from iqa.quality import rollback_threshold
from profiles.schema import Profile
from toolbox.pool import ExpertPool
from toolbox.tasks import Severity, Task

FINISHING_SHARE = 0.08
"""The share of the progress bar that finishing and writing take."""


def run_loop(context: RunContext, experts: ExpertPool, reasoner: Reasoner) -> Image:
    """Bring the run from wherever it stands to its result, which is written and returned."""
    if context.state.plan is None:
        _perceive_and_plan(context, experts, reasoner)
    while _goes_on(context):
        _take_step(context, experts, reasoner)
    return _finish(context)


def _perceive_and_plan(context: RunContext, experts: ExpertPool, reasoner: Reasoner) -> None:
    _progress(context, 0.0, "looking at the image")

    def perceived(perception: Perception) -> None:
        context.change(perception=perception)
        context.save()
        context.events.tell(Perceived(perception=perception))
        context.token.check()

    with context.timer.section("perception"):
        features = context.features
    known, profile = context.state.perception, context.state.profile
    perception, plan = perceive_and_plan(
        context.image,
        features,
        profile,
        experts,
        reasoner,
        perception=known,
        perceived=perceived,
        timer=context.timer,
    )
    context.change(plan=plan)
    context.put(context.node.model_copy(update={"remaining_steps": plan.steps, "score": perception.quality}))
    context.save()
    context.events.tell(Planned(plan=plan))
    for warning in plan.warnings:
        context.warn(warning)


def _goes_on(context: RunContext) -> bool:
    """Whether there is a step to take; where no step is left, or only late ones, from the best node so far."""
    spent = _spent_budget(context)
    _put_most_helpful_step_first(context)
    remaining_steps = context.node.remaining_steps
    if spent or not remaining_steps or remaining_steps[0].task.spec.is_late:
        resume_better_branch(context)
        remaining_steps = context.node.remaining_steps
    if spent and remaining_steps:
        context.warn(f"the budget of {spent} is spent; left out: {', '.join(map(str, remaining_steps))}")
    return bool(remaining_steps) and not spent


def _spent_budget(context: RunContext) -> str:
    """The budget that is spent, in words; empty where none is."""
    profile = context.state.profile
    if _runs_left(context) == 0:
        return f"{profile.max_expert_runs} expert runs"
    if profile.max_seconds is not None and context.timer.total() >= profile.max_seconds:
        return f"{profile.max_seconds:g} seconds"
    return ""


def _runs_left(context: RunContext) -> int | None:
    most = context.state.profile.max_expert_runs
    return None if most is None else max(0, most - context.state.expert_runs)


def _take_step(context: RunContext, experts: ExpertPool, reasoner: Reasoner) -> None:
    """Run the next step and go on from its result, or from where it is best to go on."""
    step = context.node.remaining_steps[0]
    child, image, features = _run_next_step(context, step, experts, reasoner)
    context.events.tell(StepFinished(node=child))
    if child.failed:
        reflect(context, step, reasoner)
    else:
        context.move_to(child, image, features)
    context.save()


def _run_next_step(
    context: RunContext, step: Step, experts: ExpertPool, reasoner: Reasoner
) -> tuple[Node, Image, ImageFeatures | None]:
    """The new node with its image as it was stored, and the image's features."""
    gone, new_id = _is_gone_already(context, step), len(context.state.nodes)
    with context.timer.section("scoring"):
        inputs = _step_context(context, step, experts)
        cards = () if gone else experts_for(inputs)
    context.events.tell(StepStarted(step=step, node=context.node.id, candidates=tuple(card.name for card in cards)))
    result = run_step(
        replace(inputs, token=context.token.watched_by(_show_progress_of(context, step, len(cards)))),
        cards,
        observe=partial(_record_candidate, context, step, new_id),
        judge=lambda tied: reasoner.judge(step, context.image, tied, context.perception),
    )
    best = result.best or Candidate(Verdict(expert=KEEP_INPUT, score=0.0))
    image = best.image or context.image
    node = context.node
    changed = best.verdict.expert != KEEP_INPUT
    child = Node(
        id=new_id,
        parent=node.id,
        step=step,
        expert=best.verdict.expert,
        width=image.width,
        height=image.height,
        score=best.verdict.score,
        verdicts=result.verdicts,
        margin=result.margin,
        faces=best.faces,
        failed=not gone and _has_failed(step, best.verdict, context.state.profile),
        remaining_steps=node.remaining_steps[1:] if changed else left_of(node),
        failed_first_steps=() if changed else node.failed_first_steps,
    )
    image = context.writer.store_image(child.id, image)
    context.put(child)
    context.change(expert_runs=context.state.expert_runs + child.expert_runs)
    return child, image, best.features


def _put_most_helpful_step_first(context: RunContext) -> None:
    """Put the one of the remaining steps that is expected to help most before the others.

    Where none of those before the late ones is, they are left out: an earlier step has taken their degradation away,
    or no expert gains on it. What a person or a profile asks for is done in any case.
    """
    node, profile = context.node, context.state.profile
    early = [step for step in node.remaining_steps if not step.task.spec.is_late]
    if not early or not profile.keep_input or profile.plan is not None:
        return
    with context.timer.section("perception"):
        gains = task_gains(context.features)
    helpful = [step for step in early if _may_help(context, step, gains)]
    able = [step for step in helpful if step not in node.failed_first_steps]
    first = max(able, key=lambda step: _expected_db(context, step, gains), default=None)
    if first is None:
        steps = (*helpful, *(step for step in node.remaining_steps if step.task.spec.is_late))
    else:
        steps = (first, *(step for step in node.remaining_steps if step != first))
    if steps != node.remaining_steps:
        context.put(node.model_copy(update={"remaining_steps": steps}))


def _expected_db(context: RunContext, step: Step, gains: Mapping[Task, TaskGain]) -> float:
    """By how much a step is expected to help; what is asked for keeps its place in the plan, before all others."""
    if is_requested(step.task, context.perception, context.state.profile) or step.task not in gains:
        return float("inf")
    return gains[step.task].median_db


def _may_help(context: RunContext, step: Step, gains: Mapping[Task, TaskGain]) -> bool:
    """Whether a step is asked for or expected to help the picture as it is now."""
    perception, profile = context.perception, context.state.profile
    if is_requested(step.task, perception, profile):
        return True
    return is_worth_a_step(step.task, perception, gains, profile)


def _is_gone_already(context: RunContext, step: Step) -> bool:
    """Whether an earlier step has taken away a degradation that was found at first.

    Not where only somebody else has seen it: our estimator cannot tell that it is gone.
    """
    found, profile = context.perception.findings.get(step.task.degradation), context.state.profile
    if not (found and found.present) or not step.task.spec.can_be_side_effect or not profile.keep_input:
        return False
    if context.node.step is None or profile.plan is not None:
        return False
    now = estimates_from(context.features).get(step.task.degradation)
    return found.estimated is not Severity.VERY_LOW and now is not None and now.severity is Severity.VERY_LOW


def _step_context(context: RunContext, step: Step, experts: ExpertPool) -> StepContext:
    return StepContext(
        context.image,
        step,
        context.state.profile,
        experts,
        context.features,
        timer=context.timer,
        description=context.perception.description,
        original=context.input_image if step.task is Task.FACE_RESTORATION else None,
        runs_left=_runs_left(context),
    )


def _record_candidate(context: RunContext, step: Step, node: int, candidate: Candidate) -> None:
    if candidate.image is not None:
        with context.timer.section("trace"):
            context.folder.save_thumbnail(f"{node}-{candidate.verdict.expert}", candidate.image)
    context.events.tell(CandidateJudged(step=step, node=node, verdict=candidate.verdict))


def _has_failed(step: Step, best: Verdict, profile: Profile) -> bool:
    if step.task is Task.FACE_RESTORATION:
        return False  # Each face was decided by itself; faces that need nothing are no failure.
    if best.expert == KEEP_INPUT:
        return True
    if best.expert in profile.experts:
        return False  # Whoever named it takes what it gives.
    published = rollback_threshold(best.metrics)
    return best.score < profile.rollback_below or (published is not None and best.quality < published)


def _finish(context: RunContext) -> Image:
    output = Path(context.state.output)
    _progress(context, 1 - FINISHING_SHARE, "finishing")
    with context.timer.section("finishing"):
        result = finish(context.image, context.plan)
    context.writer.save_before_after(result)
    _progress(context, 1 - FINISHING_SHARE / 2, "writing")
    with context.timer.section("writing"):
        write_image(result, output, overwrite=context.state.overwrite)
    context.change(finished=True)
    context.save()
    context.write_report()
    context.writer.flush()
    context.folder.drop_images()
    context.events.tell(
        Finished(
            node=context.state.current,
            output=str(output),
            width=result.width,
            height=result.height,
            seconds=context.timer.seconds(),
        )
    )
    context.events.progress(1.0, "done")
    return result


def _progress(context: RunContext, fraction: float, message: str) -> None:
    """Tell how much is done. Raises `Cancelled` where the caller has asked to stop."""
    context.token.check()
    context.events.progress(fraction, message)


def _show_progress_of(context: RunContext, step: Step, experts: int) -> Callable[[float], None]:
    """Shows the progress of a step, by output pixels, as a part of the run's."""
    all_work = _work(context.state.nodes[0], context.plan.steps)
    share = (1 - FINISHING_SHARE) / all_work
    done = max(0, all_work - _work(context.node, context.node.remaining_steps))
    work = _work(context.node, [step])
    return lambda fraction: context.events.progress(share * (done + work * fraction), f"{step} by {experts} experts")


def _work(node: Node, steps: Sequence[Step]) -> int:
    """Output pixels of the steps, one after another, beginning at a node."""
    pixels, work = node.width * node.height, 0
    for step in steps:
        pixels *= step.scale**2
        work += pixels
    return max(work, 1)
