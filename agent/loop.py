"""The loop of a run: perceive, plan, take the steps, roll back those that fail, finish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from agent.events import CandidateJudged, Finished, Perceived, Planned, StepFinished, StepStarted
from agent.expert_choice import helpful_downloads, stand_ins
from agent.finishing import blend, finish
from agent.judging import Candidate
from agent.run_context import RunContext
from agent.run_folder import MASK
from agent.search.first_plan import perceive_and_plan
from agent.search.next_step import child_of, choose_next_step, context_of, follow, is_gone_already
from agent.search.rollback import resume_better_branch
from agent.state import Node, ResultFile, Step
from agent.step import experts_for, run_step, too_slow
from agent.step_context import StepContext
from imaging.image import Image
from imaging.writing import write_image
from iqa.features import ImageFeatures
from toolbox.store import sha256_of

FINISHING_SHARE = 0.08
"""The share of the progress bar that finishing and writing take."""


def run_loop(context: RunContext) -> Image:
    """Continue the run from its current state to the end; the result is written and returned."""
    if context.state.plan is None:
        _perceive_and_plan(context)
    while _has_next_step(context):
        child, image, features = _run_next_step(context)
        context.tell(StepFinished(node=child))
        follow(context, child, image, features)
        context.save()
    return _finish(context)


def _perceive_and_plan(context: RunContext) -> None:
    _progress(context, 0.0, "perceiving the image")

    def perceived() -> None:
        context.save()
        context.tell(Perceived(perception=context.perception))
        context.token.check()

    perceive_and_plan(context, context.reasoner, perceived)
    context.save()
    context.tell(Planned(plan=context.plan))
    for warning in context.plan.warnings:
        context.warn(warning)


def _has_next_step(context: RunContext) -> bool:
    """Move the next step to the front; returns whether there is one within the budgets."""
    spent = _spent_budget(context)
    choose_next_step(context)
    if spent:
        resume_better_branch(context)
    remaining_steps = context.node.remaining_steps
    if spent and remaining_steps:
        context.warn(f"the budget of {spent} is spent; left out: {', '.join(map(str, remaining_steps))}")
    return bool(remaining_steps) and not spent


def _spent_budget(context: RunContext) -> str:
    """The budget that is spent, in words; empty if none is."""
    profile = context.state.profile
    if _runs_left(context) == 0:
        return f"{profile.max_expert_runs} expert runs"
    if profile.max_seconds is not None and context.timer.total() >= profile.max_seconds:
        return f"{profile.max_seconds:g} seconds"
    return ""


def _runs_left(context: RunContext) -> int | None:
    most = context.state.profile.max_expert_runs
    return None if most is None else max(0, most - context.state.expert_runs)


def _run_next_step(context: RunContext) -> tuple[Node, Image, ImageFeatures | None]:
    """Run the next step; returns its node, the stored image and the features of the image."""
    step = context.node.remaining_steps[0]
    gone, new_id = is_gone_already(context, step), len(context.state.nodes)
    with context.timer.section("scoring"):
        inputs = replace(context_of(context, step, context.state.profile), runs_left=_runs_left(context))
        cards = () if gone else experts_for(inputs)
        if not gone:
            _warn_of_slow_experts(context, inputs)
    context.tell(StepStarted(step=step, node=context.node.id, candidates=tuple(card.name for card in cards)))
    result = run_step(
        replace(inputs, token=context.token.watched_by(_show_progress_of(context, step, len(cards)))),
        cards,
        observe=partial(_record_candidate, context, step, new_id),
        judge=lambda tied: context.reasoner.judge(step, context.image, tied, context.perception),
    )
    best = result.best
    image, features = (best.image, best.features) if best and best.image else (context.image, None)
    child = child_of(context, result, context.state.profile, gone=gone)
    image = context.writer.store_image(child.id, image, _thumbnail(child.id, best.verdict.expert) if best else "")
    context.put(child)
    context.change(expert_runs=context.state.expert_runs + child.expert_runs)
    return child, image, features


def _warn_of_slow_experts(context: RunContext, inputs: StepContext) -> None:
    """Warn of experts that are left out as too slow, except where a small network is the rule.

    It is in a second enlargement, and beside a faithful network for clean pictures.
    """
    if inputs.is_enlarged:
        return
    limit, more_time = inputs.expert_seconds or 0.0, "a larger max_seconds, " if inputs.profile.max_seconds else ""
    smaller = stand_ins(inputs)
    for name, seconds in too_slow(inputs).items():
        if name in smaller and not inputs.profile.favours_texture:
            continue
        instead = f" and {smaller[name].name}, a smaller network, runs instead" if name in smaller else ""
        context.warn(
            f"{name} was left out of {inputs.step}{instead}: about {seconds:.0f} s on this CPU, more than the "
            f"{limit:.0f} s that it may take; {more_time}a GPU, or the profile's key experts = [{name!r}], "
            "lets it run"
        )


def _record_candidate(context: RunContext, step: Step, node: int, candidate: Candidate) -> None:
    if candidate.image is not None:
        with context.timer.section("trace"):
            context.folder.save_thumbnail(_thumbnail(node, candidate.verdict.expert), candidate.image)
    context.tell(CandidateJudged(step=step, node=node, verdict=candidate.verdict))


def _thumbnail(node: int, expert: str) -> str:
    """The name of a candidate's thumbnail."""
    return f"{node}-{expert}"


def _finish(context: RunContext) -> Image:
    output = Path(context.state.output)
    steps = [node.step for node in context.state.path_to(context.node.id) if node.step]
    context.change(helpful_downloads=helpful_downloads(steps, context.state.profile, context.experts))
    _progress(context, 1 - FINISHING_SHARE, "finishing")
    with context.timer.section("finishing"):
        scale = context.plan.final_width / context.state.nodes[0].width
        result = finish(context.image, context.plan, context.state.profile.grain, scale)
        if context.state.strength < 1 or context.state.is_masked:
            mask = context.folder.load_image(MASK).pixels[:1] if context.state.is_masked else None
            result = blend(context.input_image, result, context.state.strength, mask)
    context.token.check()
    context.writer.save_before_after(result)
    _progress(context, 1 - FINISHING_SHARE / 2, "writing")
    with context.timer.section("writing"):
        announce = partial(_announce, context)
        write_image(result, output, overwrite=context.state.overwrite, before_naming=announce, token=context.token)
    conclude(context)
    return result


def _announce(context: RunContext, file: Path) -> None:
    """Save the hash and the temporary name of the result before it is renamed."""
    context.change(result=ResultFile(sha256=sha256_of(file), temporary=file.name))
    context.save()
    context.writer.flush()


def conclude(context: RunContext) -> None:
    """Finish a run whose result is written: update state, report and trace, and delete the images of the nodes."""
    context.change(finished=True)
    context.save()
    context.write_report()
    context.folder.drop_images()
    context.tell(
        Finished(
            node=context.state.current,
            output=context.state.output,
            width=context.plan.final_width,
            height=context.plan.final_height,
            seconds=context.timer.seconds(),
        )
    )
    context.progress(1.0, "done")


def _progress(context: RunContext, fraction: float, message: str) -> None:
    """Report progress. Raises `Cancelled` if the run was cancelled."""
    context.token.check()
    context.progress(fraction, message)


def _show_progress_of(context: RunContext, step: Step, experts: int) -> Callable[[float], None]:
    """A callback that reports the progress of a step as a share of the run's output pixels."""
    all_work = _work(context.state.nodes[0], context.plan.steps)
    share = (1 - FINISHING_SHARE) / all_work
    done = max(0, all_work - _work(context.node, context.node.remaining_steps))
    work = _work(context.node, [step])
    return lambda fraction: context.progress(share * (done + work * fraction), f"{step} by {experts} experts")


def _work(node: Node, steps: Sequence[Step]) -> int:
    """Sum of the output pixels of the steps, taken in sequence from a node."""
    pixels, work = node.width * node.height, 0
    for step in steps:
        pixels *= step.scale**2
        work += pixels
    return max(work, 1)
