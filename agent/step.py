"""One step: choose its experts, run and judge them, keep the best result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from agent.expert_choice import candidates, seconds_on_cpu, shortlist, stand_ins, with_stand_ins
from agent.faces.step import run_face_step
from agent.judging import Candidate, Judge, Selection
from agent.qmoe import run_candidates, textured
from agent.state import KEEP_INPUT, Verdict, expert_of
from agent.step_context import StepContext
from agent.worth import ranking_gains
from imaging.errors import Cancelled
from imaging.resizing import resize
from iqa.degradations import estimates_from
from iqa.expected_gain import is_probable
from iqa.visibility import is_visible
from toolbox.card import ExpertCard
from toolbox.tasks import Degradation, Task

MOST_STREAKS = 1.0
"""Level from which a textured result is rejected: of motion blur, or of rain in excess of the step's input.

Networks generate fur and grass from motion blur, needles from motion blur and noise. Of 18 enlargements of mixtures
and real photos, those with generated needles had 1.2 or more, the others 0.3 or less. Only the increase of rain
counts: the estimator takes fur, grass and bars for rain before an enlargement (levels up to 3.6) and after it (at
most 0.7 more on eight pieces of training photos; needles from motion blur: 3.7 more), and rain left in an input
remains in every enlargement.
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
    """The experts that a step runs: those allowed by profile, device and licence, shortlisted, within the budget.

    If an expert would take too long, the smaller network that stands in for it runs, if that is fast enough. Small
    networks and blends add texture in the first enlargement only.
    """
    slow, smaller = too_slow(context), stand_ins(context)
    able = [card for card in _able(context) if card.name not in slow or card.name in smaller]
    probable = with_probable_gain(context, able)
    chosen = shortlist(probable, context.profile, context.image, context.features)[: context.runs_left]
    return with_stand_ins(context, chosen, slow)


def _able(context: StepContext) -> list[ExpertCard]:
    """The experts that the profile allows and that suit the picture."""
    able = list(candidates(context.step, context.profile, context.experts))
    if not context.is_enlarged:
        return able
    favoured = context.profile.favours_texture
    return [card for card in able if card.preference != "perception" or (favoured and not card.stands_in_for)] or able


def with_probable_gain(context: StepContext, able: Sequence[ExpertCard]) -> tuple[ExpertCard, ...]:
    """For a step that was not requested: the experts whose gain is probable, and those without an expected gain.

    The step may be planned for another expert of its task, and the score alone cannot detect harm. All of `able` if
    the gain of none is probable, or if the profile is exhaustive; experts that the profile names stay.
    """
    profile, task = context.profile, context.step.task
    if context.is_requested or profile.exhaustive:
        return tuple(able)
    named, gains = set(map(expert_of, profile.experts)), ranking_gains(context.features, task)
    probable = {name for name, gain in gains.items() if is_probable(task, gain.low_db, gain.median_db)}
    if not any(card.name in probable for card in able):
        return tuple(able)
    return tuple(card for card in able if card.name in probable | named or card.name not in gains)


def too_slow(context: StepContext) -> dict[str, float]:
    """Experts that would take longer than the context allows, with their seconds; never all of them.

    Experts that the profile names are never too slow.
    """
    pixels, limit = context.image.width * context.image.height, context.expert_seconds
    if limit is None:
        return {}
    able, named = _able(context), set(map(expert_of, context.profile.experts))
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
    names compete only with each other, and so do networks that generate texture if the profile wants it in
    enlargements: consistency would favour results without texture. For a blend of both, the faithful networks run
    first (`_textured_beside`). When the time is up, the best result so far is taken. Texture generated from streaks
    is rejected if a network without texture runs too, and so are results that lost texture to cleaning. The input is
    kept if the step was not requested and the best result does not visibly differ from it.
    """
    faithful, generative, verdicts = Selection(), Selection(compares_detail=True), list[Verdict]()
    generated = {
        f"{card.name}{suffix}" for card in textured(context, cards) for suffix in ("", *context.other_inputs)
    }

    def watch(fraction: float) -> None:
        context.token.report(fraction)
        if (faithful.winner or generative.winner) and context.is_out_of_time:
            raise _TimeIsUp

    watched = replace(context, token=context.token.watched_by(watch))
    named = _named(context, cards)
    has_alternative = not named and any(card.name not in generated for card in cards)
    with suppress(_TimeIsUp):
        for candidate in _candidates(watched, cards, faithful):
            is_generated = candidate.verdict.expert in generated
            if is_generated and has_alternative:
                candidate = _without_streaks(context, candidate)
            verdicts.append(candidate.verdict)
            observe(candidate)
            if not named or candidate.verdict.expert in named or candidate.faces:
                (generative if is_generated else faithful).add(candidate)
            if (faithful.winner or generative.winner) and context.is_out_of_time:
                break
    smeared = "cleaning took its texture away"
    verdicts = [_rejected(one, smeared) if one.expert in generative.smeared else one for one in verdicts]
    if (blend := _blended(context, cards, faithful.winner, generative.winner)) is not None:
        verdicts.append(blend.verdict)
        observe(blend)
        return StepResult(blend, tuple(verdicts), None)
    selection = generative if generative.winner else faithful
    best = _winner(context, selection, judge)
    if best and not named and (kept := _kept_instead_of(best, context, verdicts)):
        message = "it differs too little from the input to be seen"
        verdicts = [_rejected(verdict, message) if verdict is best.verdict else verdict for verdict in verdicts]
        best = kept
    return StepResult(best, tuple(verdicts), selection.margin)


def _winner(
    context: StepContext, selection: Selection, judge: Callable[[Sequence[Candidate]], str | None]
) -> Candidate | None:
    """The best candidate; of tied ones, the one that `judge` chooses."""
    if len(selection.tied) < 2:
        return selection.winner
    with context.timer.section("scoring"):
        name = judge(selection.tied)
    return next((one for one in selection.tied if one.verdict.expert == name), selection.winner)


def _candidates(context: StepContext, cards: Sequence[ExpertCard], faithful: Selection) -> Iterator[Candidate]:
    """The candidates of a step, one by one; `faithful` selects among those without generated texture meanwhile."""
    if context.step.task is Task.FACE_RESTORATION:
        yield from run_face_step(context, cards)
        return
    last = [] if context.profile.favours_texture else textured(context, cards)
    first = [card for card in cards if card not in last]
    share = len(first) / len(cards) if cards else 1.0
    yield from run_candidates(replace(context, token=context.token.part(0, share)), first)
    if last:
        remaining = replace(context, token=context.token.part(share, 1))
        yield from run_candidates(*_textured_beside(faithful.winner, remaining, last))


def _textured_beside(
    faithful: Candidate | None, context: StepContext, cards: Sequence[ExpertCard]
) -> tuple[StepContext, Sequence[ExpertCard]]:
    """The networks of `cards` whose texture suits a faithful result, and the context in which they run.

    Beside a blind network, which wins on photographs and compressed pictures, blind ones generate texture from the
    picture itself: Real-ESRGAN, blended by 0.4, gains 0.05 dB on 48 such pictures, and loses 0.5 dB on clean ones.
    Beside a network for clean pictures, those that are not blind run, on the faithful result reduced to the size of
    the picture, so that noise and blocks do not become texture. If no card matches, all of them run like that.
    """
    is_blind = faithful is not None and context.experts.catalogue.card(expert_of(faithful.verdict.expert)).blind
    suited = [card for card in cards if card.blind == is_blind]
    if is_blind and suited:
        return context, suited
    return _with_image_of(faithful, context), suited or cards


def _with_image_of(candidate: Candidate | None, context: StepContext) -> StepContext:
    """The context with an enlarged candidate, reduced to the size of the input, instead of its images."""
    if candidate is None or candidate.image is None:
        return context
    reduced = resize(candidate.image.pixels, context.image.height, context.image.width)
    return replace(context, image=context.image.with_pixels(reduced), other_inputs={})


def _kept_instead_of(best: Candidate, context: StepContext, verdicts: Sequence[Verdict]) -> Candidate | None:
    """The input as a candidate, if the step was not requested and `best` does not visibly differ from it."""
    if best.image is None or context.is_requested or context.step.scale != 1:
        return None
    kept = next((verdict for verdict in verdicts if verdict.expert == KEEP_INPUT), None)
    if kept is None or best.verdict is kept or is_visible(context.image.pixels, best.image.pixels):
        return None
    return Candidate(kept, context.image, features=context.features)


def _named(context: StepContext, cards: Sequence[ExpertCard]) -> set[str]:
    """The candidates that the profile names; without the suffix of a path that this step does not have."""
    experts = {card.name for card in cards}
    wanted = {name for name in context.profile.experts if expert_of(name) in experts}
    return {name if name[len(expert_of(name)) :] in context.other_inputs else expert_of(name) for name in wanted}


def _without_streaks(context: StepContext, candidate: Candidate) -> Candidate:
    """The candidate, or a rejected one without image if its texture was generated from rain or motion blur."""
    if candidate.features is None:
        return candidate
    now = estimates_from(candidate.features)
    levels = {kind: now[kind].level for kind in (Degradation.RAIN, Degradation.MOTION_BLUR)}
    if levels[Degradation.RAIN] >= MOST_STREAKS:
        levels[Degradation.RAIN] -= estimates_from(context.features)[Degradation.RAIN].level
    found = [kind.value.replace("_", " ") for kind, level in levels.items() if level >= MOST_STREAKS]
    if not found:
        return candidate
    return Candidate(_rejected(candidate.verdict, f"its texture looks like {' and '.join(found)}"))


def _rejected(verdict: Verdict, message: str) -> Verdict:
    return verdict.model_copy(update={"score": 0.0, "error": message})


def _blended(
    context: StepContext, cards: Sequence[ExpertCard], faithful: Candidate | None, textured: Candidate | None
) -> Candidate | None:
    """The best faithful and the best textured result, blended by the profile's `detail`; None if one is missing."""
    share = context.profile.blended_detail
    if share is None or not (faithful and faithful.image and textured and textured.image):
        return None
    mixed = textured.image.with_pixels(faithful.image.pixels.lerp(textured.image.pixels, share), clamp=False)
    name = textured.verdict.expert
    card = next(card for card in cards if name.startswith(card.name) and card.preference == "perception")
    return Judge(context).evaluate(card, mixed, 0.0, f"{faithful.verdict.expert}+{name}")
