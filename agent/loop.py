"""The loop of a run: perceive, plan, take one step after another, roll back where one hurts, finish."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from agent import planning
from agent.events import CandidateJudged, Finished, StepFinished, StepStarted
from agent.face_step import run_face_step
from agent.finishing import finish
from agent.judging import Candidate, Selection
from agent.perception import perceive
from agent.qmoe import candidates, run_candidates, shortlist, unavailable_experts
from agent.reasoners.reasoner import Reasoner
from agent.rollback import left_of, reflect, resume_better_branch
from agent.run_context import RunContext
from agent.state import KEEP_INPUT, Node, Step, Verdict
from imaging.errors import Cancelled
from imaging.writing import write_image
from iqa.degradations import estimates_from
from iqa.quality import rollback_threshold
from toolbox.card import ExpertCard
from toolbox.pool import ExpertPool
from toolbox.tasks import Severity, Task

FINISHING_SHARE = 0.08
"""The share of the progress bar that finishing and writing take."""


class _TimeIsUp(Cancelled):
    """In the middle of an expert's work, where there is something to go on with."""


def run_loop(context: RunContext, experts: ExpertPool, reasoner: Reasoner) -> None:
    """Bring the run from wherever it stands to its written result."""
    if context.state.perception is None:
        _perceive(context, reasoner)
    if context.state.plan is None:
        _plan(context, experts, reasoner)
    while _goes_on(context):
        _take_step(context, experts, reasoner)
    _finish(context)


def _perceive(context: RunContext, reasoner: Reasoner) -> None:
    context.progress(0.0, "looking at the image")
    with context.timer.section("perception"):
        perception = perceive(context.image, reasoner, context.features)
    context.perceived(perception)


def _plan(context: RunContext, experts: ExpertPool, reasoner: Reasoner) -> None:
    context.token.check()
    with context.timer.section("planning"):
        plan = planning.plan(context.perception, context.state.profile, experts.catalogue, reasoner)
    context.planned(plan)
    for warning in unavailable_experts(plan.steps, context.state.profile, experts):
        context.warn(warning)


def _goes_on(context: RunContext) -> bool:
    """Whether there is a step to take; where no step is left, or only late ones, from the best node so far."""
    spent = _spent_budget(context)
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
    if profile.max_expert_runs is not None and context.state.expert_runs >= profile.max_expert_runs:
        return f"{profile.max_expert_runs} expert runs"
    return f"{profile.max_seconds:g} seconds" if _time_is_up(context) else ""


def _runs_left(context: RunContext) -> int | None:
    most = context.state.profile.max_expert_runs
    return None if most is None else max(0, most - context.state.expert_runs)


def _time_is_up(context: RunContext) -> bool:
    most = context.state.profile.max_seconds
    return most is not None and context.timer.total() >= most


def _take_step(context: RunContext, experts: ExpertPool, reasoner: Reasoner) -> None:
    """Run the first of the remaining steps and go on from its result, or from where it is best to go on."""
    node, step = context.node, context.node.remaining_steps[0]
    gone = _is_gone_already(context, step)
    profile = context.state.profile
    with context.timer.section("scoring"):
        able = () if gone else candidates(step, profile, experts)
        cards = shortlist(able, profile, context.image, context.features)[: _runs_left(context)]
    new_id = len(context.state.nodes)
    context.tell(StepStarted(step=step, node=node.id, candidates=tuple(card.name for card in cards)))
    selection, verdicts = _run_candidates(context, step, cards, experts, new_id)
    best = _chosen(context, step, selection, reasoner)
    selection.clear()
    image, features = (best.image or context.image, best.features) if best else (context.image, None)
    best = replace(best, image=None) if best else None
    changed = best is not None and best.verdict.expert != KEEP_INPUT
    child = Node(
        id=new_id,
        parent=node.id,
        step=step,
        expert=best.verdict.expert if best else KEEP_INPUT,
        width=image.width,
        height=image.height,
        score=best.verdict.score if best else 0.0,
        verdicts=verdicts,
        margin=selection.margin,
        faces=best.faces if best else None,
        failed=not gone and _has_failed(context, step, best),
        remaining_steps=node.remaining_steps[1:] if changed else left_of(node),
        failed_first_steps=() if changed else node.failed_first_steps,
    )
    runs = sum(verdict.expert != KEEP_INPUT for verdict in verdicts)
    image = context.add(child, image, child.faces.expert_runs if child.faces else runs)
    context.tell(StepFinished(node=child))
    if child.failed:
        reflect(context, step, reasoner)
    else:
        context.move_to(child, image, features)
    context.save()


def _is_gone_already(context: RunContext, step: Step) -> bool:
    """Whether a degradation that was found has been taken away by an earlier step; keeping the input is no failure.

    A task that was asked for without its degradation being found is done all the same, and so is one whose
    degradation somebody else has seen and our estimator has not: it cannot tell that it is gone.
    """
    found = context.perception.findings.get(step.task.degradation)
    profile = context.state.profile
    if not (found and found.present) or not step.task.spec.can_be_side_effect or not profile.keep_input:
        return False
    if context.node.step is None or profile.plan is not None or found.estimated is Severity.VERY_LOW:
        return False
    with context.timer.section("perception"):
        now = estimates_from(context.features).get(step.task.degradation)
    return now is not None and now.severity is Severity.VERY_LOW


def _run_candidates(
    context: RunContext, step: Step, cards: Sequence[ExpertCard], experts: ExpertPool, new_id: int
) -> tuple[Selection, tuple[Verdict, ...]]:
    """The contest and every verdict; of the images only those that may still win are held in memory."""
    done, share = _progress_of(context, step)
    selection, verdicts = Selection(), list[Verdict]()

    def watch(fraction: float) -> None:
        context.progress(done + share * fraction, f"{step} by {len(cards)} experts")
        if selection.winner and _time_is_up(context):
            raise _TimeIsUp

    token = context.token.watched_by(watch)
    if step.task is Task.FACE_RESTORATION:
        run = partial(run_face_step, original=context.folder.load_image(0))
    else:
        with context.timer.section("scoring"):
            run = partial(run_candidates, features=context.features)
    judged = run(
        context.image,
        step,
        cards,
        context.state.profile,
        experts,
        token=token,
        timer=context.timer,
        description=context.perception.description,
        most_runs=_runs_left(context),
    )
    named = {card.name for card in cards} & set(context.state.profile.experts)
    with suppress(_TimeIsUp):
        for candidate in judged:
            verdicts.append(candidate.verdict)
            if candidate.image is not None:
                with context.timer.section("trace"):
                    context.folder.save_thumbnail(f"{new_id}-{candidate.verdict.expert}", candidate.image)
            if not named or candidate.verdict.expert in named or candidate.faces:
                selection.add(candidate)
            if selection.winner and _time_is_up(context):
                break
            context.tell(CandidateJudged(step=step, node=new_id, verdict=candidate.verdict))
    return selection, tuple(verdicts)


def _chosen(context: RunContext, step: Step, selection: Selection, reasoner: Reasoner) -> Candidate | None:
    """The best candidate. Where scores cannot tell several apart, the reasoner may."""
    if len(selection.tied) < 2:
        return selection.winner
    with context.timer.section("scoring"):
        name = reasoner.judge(step, context.image, selection.tied, context.perception)
    return next((one for one in selection.tied if one.verdict.expert == name), selection.winner)


def _has_failed(context: RunContext, step: Step, best: Candidate | None) -> bool:
    if step.task is Task.FACE_RESTORATION:
        return False  # Each face was decided by itself; faces that need nothing are no failure.
    if best is None or best.verdict.expert == KEEP_INPUT:
        return True
    if best.verdict.expert in context.state.profile.experts:
        return False  # Whoever named it takes what it gives.
    published = rollback_threshold(best.verdict.metrics)
    if published is not None and best.verdict.quality < published:
        return True
    return best.verdict.score < context.state.profile.rollback_below


def _finish(context: RunContext) -> None:
    output = Path(context.state.output)
    context.progress(1 - FINISHING_SHARE, "finishing")
    with context.timer.section("finishing"):
        result = finish(context.image, context.plan)
    context.show_result(result)
    context.progress(1 - FINISHING_SHARE / 2, "writing")
    with context.timer.section("writing"):
        write_image(result, output, overwrite=context.state.overwrite)
    context.finished()
    context.tell(
        Finished(
            node=context.state.current,
            output=str(output),
            width=result.width,
            height=result.height,
            seconds=context.timer.seconds(),
        )
    )
    context.progress(1.0, "done")


def _progress_of(context: RunContext, step: Step) -> tuple[float, float]:
    """How much of the run is done before a step, and how much the step adds; by output pixels."""
    share = (1 - FINISHING_SHARE) / _work(context.state.nodes[0], context.plan.steps)
    left = _work(context.node, context.node.remaining_steps)
    all_work = _work(context.state.nodes[0], context.plan.steps)
    return max(0, all_work - left) * share, _work(context.node, [step]) * share


def _work(node: Node, steps: Sequence[Step]) -> int:
    """Output pixels of the steps, one after another, beginning at a node."""
    pixels, work = node.width * node.height, 0
    for step in steps:
        pixels *= step.scale**2
        work += pixels
    return max(work, 1)
