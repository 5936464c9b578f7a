"""One step: choose its experts, run and judge them, keep the best result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from agent.face_step import run_face_step
from agent.judging import Candidate, Selection
from agent.qmoe import candidates, run_candidates, shortlist
from agent.state import Verdict
from agent.step_context import StepContext
from imaging.errors import Cancelled
from toolbox.card import ExpertCard
from toolbox.tasks import Task


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of a step."""

    best: Candidate | None
    """None where no candidate gave an image."""
    verdicts: tuple[Verdict, ...]
    margin: float | None
    """By how much the best score is ahead of the second; None without a second."""


class _TimeIsUp(Cancelled):
    """`max_seconds` has passed while an expert runs, and another candidate can be kept."""


def experts_for(context: StepContext) -> tuple[ExpertCard, ...]:
    """The experts that a step runs: those allowed by profile, device and licence, shortlisted, within the budget."""
    able = candidates(context.step, context.profile, context.experts)
    return shortlist(able, context.profile, context.image, context.features)[: context.runs_left]


def run_step(
    context: StepContext,
    cards: Sequence[ExpertCard],
    *,
    observe: Callable[[Candidate], None] = lambda _: None,
    judge: Callable[[Sequence[Candidate]], str | None] = lambda _: None,
) -> StepResult:
    """Run the experts of `cards` and choose among their results and the input.

    `observe` is called with every candidate as soon as it has its verdict. `judge` is given the candidates whose
    scores are tied and returns the expert to keep; None leaves the choice to the scores. Experts that the profile
    names compete among themselves alone. When the time is up, the best result so far is taken.
    """
    selection, verdicts = Selection(), list[Verdict]()

    def watch(fraction: float) -> None:
        context.token.report(fraction)
        if selection.winner and context.is_out_of_time:
            raise _TimeIsUp

    watched = replace(context, token=context.token.watched_by(watch))
    run = run_face_step if context.step.task is Task.FACE_RESTORATION else run_candidates
    named = {card.name for card in cards} & set(context.profile.experts)
    with suppress(_TimeIsUp):
        for candidate in run(watched, cards):
            verdicts.append(candidate.verdict)
            observe(candidate)
            if not named or candidate.verdict.expert in named or candidate.faces:
                selection.add(candidate)
            if selection.winner and context.is_out_of_time:
                break
    best = selection.winner
    if len(selection.tied) > 1:
        with context.timer.section("scoring"):
            name = judge(selection.tied)
        best = next((one for one in selection.tied if one.verdict.expert == name), best)
    return StepResult(best, tuple(verdicts), selection.margin)
