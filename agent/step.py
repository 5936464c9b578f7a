"""One step: choose its experts, run and judge them, keep the best result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from agent.faces.step import run_face_step
from agent.judging import Candidate, Judge, Selection
from agent.qmoe import candidates, run_candidates, seconds_on_cpu, shortlist
from agent.state import Verdict, expert_of
from agent.step_context import StepContext
from imaging.errors import Cancelled
from iqa.degradations import estimates_from
from toolbox.card import ExpertCard
from toolbox.tasks import Degradation, Task

STREAKS = (Degradation.RAIN, Degradation.MOTION_BLUR)
"""Degradations from which networks generate texture: needles from rain, fur and grass from motion blur."""
MOST_STREAKS = 1.0
"""Level of a streak degradation in a textured result from which it is rejected. Of 18 enlargements of mixtures and
real photos, those with generated needles had 1.2 or more, the others 0.3 or less.
"""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step."""

    best: Candidate | None
    """None if no candidate produced an image."""
    verdicts: tuple[Verdict, ...]
    margin: float | None
    """Difference between the best and the second-best score; None with one candidate."""


class _TimeIsUp(Cancelled):
    """`max_seconds` has passed while an expert runs, and another candidate can be kept."""


def experts_for(context: StepContext) -> tuple[ExpertCard, ...]:
    """The experts that a step runs: those allowed by profile, device and licence, shortlisted, within the budget."""
    able = candidates(context.step, context.profile, context.experts)
    slow = too_slow(context, able)
    able = tuple(card for card in able if card.name not in slow)
    return shortlist(able, context.profile, context.image, context.features)[: context.runs_left]


def too_slow(context: StepContext, able: Sequence[ExpertCard]) -> dict[str, float]:
    """Experts of `able` that would take longer than the context allows, with their seconds; never all of them.

    What the profile names is not too slow.
    """
    pixels, limit = context.image.width * context.image.height, context.expert_seconds
    if limit is None:
        return {}
    named = set(map(expert_of, context.profile.experts))
    seconds = {card.name: seconds_on_cpu(card, pixels) for card in able if card.name not in named}
    slow = {name: taken for name, taken in seconds.items() if taken > limit}
    return slow if len(slow) < len(able) else {}


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
    names compete among themselves alone, and so do networks that generate texture where the profile wants it in
    enlargements: consistency would prefer what has none. When the time is up, the best result so far is taken.
    Texture that was generated from rain or motion blur is rejected where a network without texture runs too.
    """
    selection, generative, verdicts = Selection(), Selection(), list[Verdict]()
    kept = dict[bool, Candidate]()
    textured = _textured(context, cards)

    def watch(fraction: float) -> None:
        context.token.report(fraction)
        if selection.winner and context.is_out_of_time:
            raise _TimeIsUp

    watched = replace(context, token=context.token.watched_by(watch))
    run = run_face_step if context.step.task is Task.FACE_RESTORATION else run_candidates
    named = _named(context, cards)
    has_alternative = not named and any(card.name not in textured for card in cards)
    with suppress(_TimeIsUp):
        for candidate in run(watched, cards):
            if candidate.verdict.expert in textured and has_alternative:
                candidate = _without_streaks(candidate)
            verdicts.append(candidate.verdict)
            observe(candidate)
            if context.profile.blended_detail is not None and candidate.image is not None:
                kind = candidate.verdict.expert in textured
                kept[kind] = max(kept.get(kind, candidate), candidate, key=lambda one: one.verdict.score)
            if not named or candidate.verdict.expert in named or candidate.faces:
                selection.add(candidate)
                if candidate.verdict.expert in textured:
                    generative.add(candidate)
            if selection.winner and context.is_out_of_time:
                break
    if context.profile.blended_detail is not None and (blend := _blended(context, cards, kept)) is not None:
        verdicts.append(blend.verdict)
        observe(blend)
        return StepResult(blend, tuple(verdicts), None)
    if generative.winner:
        selection = generative
    best = selection.winner
    if len(selection.tied) > 1:
        with context.timer.section("scoring"):
            name = judge(selection.tied)
        best = next((one for one in selection.tied if one.verdict.expert == name), best)
    return StepResult(best, tuple(verdicts), selection.margin)


def _named(context: StepContext, cards: Sequence[ExpertCard]) -> set[str]:
    """The candidates that the profile names; the plain one for a path that this step does not have."""
    experts = {card.name for card in cards}
    wanted = {name for name in context.profile.experts if expert_of(name) in experts}
    return {name if name[len(expert_of(name)) :] in context.other_inputs else expert_of(name) for name in wanted}


def _textured(context: StepContext, cards: Sequence[ExpertCard]) -> set[str]:
    """The names of candidates from networks that generate texture, where an enlargement shall have some."""
    if context.step.task is not Task.SUPER_RESOLUTION or not context.profile.wants_texture:
        return set()
    networks = [card.name for card in cards if card.preference == "perception" and card.loader != "classical"]
    return {f"{name}{suffix}" for name in networks for suffix in ("", *context.other_inputs)}


def _without_streaks(candidate: Candidate) -> Candidate:
    """The candidate, or a rejected one without image if its texture was generated from rain or motion blur."""
    if candidate.features is None:
        return candidate
    estimates = estimates_from(candidate.features)
    found = [kind.value.replace("_", " ") for kind in STREAKS if estimates[kind].level >= MOST_STREAKS]
    if not found:
        return candidate
    message = f"its texture looks like {' and '.join(found)}"
    return Candidate(candidate.verdict.model_copy(update={"score": 0.0, "error": message}))


def _blended(context: StepContext, cards: Sequence[ExpertCard], kept: Mapping[bool, Candidate]) -> Candidate | None:
    """The best textured and the best faithful result, mixed as the profile's `detail` says; None if one is missing.

    `kept`: the best results by whether they are textured.
    """
    share = context.profile.blended_detail
    if share is None or len(kept) < 2:
        return None
    faithful, textured = kept[False].image, kept[True].image
    if faithful is None or textured is None:
        return None
    mixed = textured.with_pixels(faithful.pixels.lerp(textured.pixels, share), clamp=False)
    name = kept[True].verdict.expert
    card = next(card for card in cards if name.startswith(card.name) and card.preference == "perception")
    candidate = Judge(context).evaluate(card, mixed, 0.0)
    both = f"{kept[False].verdict.expert}+{name}"
    return replace(candidate, verdict=candidate.verdict.model_copy(update={"expert": both}))
