"""Q-MoE, the quality-driven mixture of experts: run and judge the candidates of a step, prescreened or not."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue
from statistics import fmean

from agent.finishing import quantize_uint16
from agent.judging import Candidate, Judge
from agent.state import Step, Verdict
from agent.step_context import StepContext
from imaging.device import device_memory, devices, on_device
from imaging.errors import ResourceError
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.candidate_score import origin_of
from iqa.crops import cut
from iqa.expected_gain import expected_gains, shortlist_by_gain
from iqa.expert_priors import best_prior, expert_prior, has_prior, shortlist_by_prior
from iqa.features import ImageFeatures
from profiles.schema import Profile
from toolbox.availability import availability
from toolbox.card import ExpertCard
from toolbox.errors import ExpertError, RegistryError, WeightsError
from toolbox.expert import run_expert, without_tta
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

PRESCREEN_ABOVE_PIXELS = 512 * 512
PRESCREEN_CROPS = 3
PRESCREEN_SIDE, PRESCREENED_SIDE = 192, 512
"""Pixels of the side of a crop, and at most of what is made of it."""
PRESCREEN_SHARE = 0.3
"""Of the progress of a step."""
PRESCREEN_ERROR = 0.02
"""Scores of prescreen results that differ by less say nothing about the whole; five of five wrong choices were
closer.
"""
LEAST_BYTES = {"S": 0, "M": 1 << 30, "L": 4 << 30, "XL": 8 << 30}
"""What a tile of an expert takes at least, by the memory class of its card."""


def candidates(step: Step, profile: Profile, experts: ExpertPool) -> tuple[ExpertCard, ...]:
    """The experts for a step that can run here and that the profile allows, those of the best prior first.

    By licence and memory of the device, then by preference where that leaves any. Where the profile names an expert
    for the step, it alone.
    """
    cards = [card for card in experts.runnable(step.task, step.scale) if is_allowed(card, profile)]
    named = tuple(card for card in cards if card.name in profile.experts)
    if named:
        return named
    cards = [card for card in cards if LEAST_BYTES[card.memory] <= device_memory()]
    cards.sort(key=lambda card: -best_prior(card.task, card.name))
    preferred = [card for card in cards if is_preferred(card, profile)]
    return tuple(preferred if preferred or profile.strict_preference else cards)


def unavailable_experts(steps: Sequence[Step], profile: Profile, experts: ExpertPool) -> tuple[str, ...]:
    """Why experts that the profile names will not take part in these steps, a sentence each."""
    messages, wanted = [], {(step.task, step.scale) for step in steps}
    for card in (card for card in experts.catalogue if card.name in profile.experts):
        can = availability(card, experts.store)
        if (card.task, card.scale) not in wanted:
            messages.append(
                f"{Step(task=card.task, scale=card.scale)} is no step of the plan: {card.name} is not used"
            )
        elif not can.can_run:
            messages.append(f"{card.name} cannot run here, so others take its place: {can.advice}")
        elif not is_allowed(card, profile):
            messages.append(f"{card.name} is not used: its licence forbids commercial use (non_commercial allows it)")
    return tuple(messages)


def is_allowed(card: ExpertCard, profile: Profile) -> bool:
    """Whether a profile allows an expert's licence."""
    return profile.non_commercial or card.commercial != "no"


def is_preferred(card: ExpertCard, profile: Profile) -> bool:
    """Whether an expert is of a profile's preference."""
    return card.preference in ("any", profile.restore_preference)


def shortlist(
    cards: Sequence[ExpertCard], profile: Profile, image: Image, features: ImageFeatures
) -> tuple[ExpertCard, ...]:
    """Those of `cards` that are worth a run on `image`: the best by expected gain come first, then what is unknown.

    All of them where the profile is exhaustive. The gains are those that are expected on this very picture
    (`features`). They are about fidelity: where the profile prefers perception, the best of those experts runs in any
    case. Where the profile is fast and the image large, slow experts only where there are no others.
    """
    if profile.fast_4k and image.long_side >= profile.fast_4k_side_threshold:
        cards = [card for card in cards if not card.slow] or cards
    ranked = _ranked(cards, features)
    cards = sorted(cards, key=lambda card: ranked.order.get(card.name, 0))
    if len(ranked.order) < 2 or profile.exhaustive:
        return tuple(cards)
    pleasing = [card.name for card in cards if card.name in ranked.order and card.preference == "perception"]
    wanted = pleasing[:1] if profile.restore_preference == "perception" else []
    unwanted = ranked.order.keys() - {*ranked.best, *wanted}
    return tuple(card for card in cards if card.name not in unwanted)


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Experts of a step that something is known of."""

    order: dict[str, int]
    """Their places, the best first; negative, so that those of which nothing is known come last."""
    best: list[str]
    """Those that may give the best result."""


def _ranked(cards: Sequence[ExpertCard], features: ImageFeatures) -> _Ranking:
    """By the gain that is expected on this picture; experts with a prior alone come after them.

    Where no expert has a gain, by the priors.
    """
    if not cards:
        return _Ranking({}, [])
    task, names = cards[0].task, {card.name for card in cards}
    gains = {name: gain for name, gain in expected_gains(features, task).items() if name in names}
    severity = origin_of(task, features).co_degradation_severity
    priors = {name: expert_prior(task, name, severity) for name in names if has_prior(task, name)}
    order = sorted(gains, key=lambda name: -gains[name].median_db)
    order += sorted(priors.keys() - gains.keys(), key=lambda name: -priors[name])
    best = shortlist_by_gain(gains) if gains else shortlist_by_prior(priors)
    return _Ranking({name: place - len(order) for place, name in enumerate(order)}, best)


def run_candidates(context: StepContext, cards: Sequence[ExpertCard]) -> Iterator[Candidate]:
    """Run the experts of `cards` on an image one after another and judge each result.

    "Keep the input" comes first, for every task but super-resolution. Large images are prescreened: all experts run
    on a few informative crops, and only the best of them on the whole, or the best two where the crops cannot tell
    them apart; the others yield their prescreen verdict alone. Where the budget allows fewer runs than there are
    cards, the first ones run, and nothing is prescreened where that would exceed it.
    """
    judge, token = Judge(context), context.token
    if context.profile.keep_input and context.step.task is not Task.SUPER_RESOLUTION:
        yield judge.evaluate_input()
    whole, prescreens = context, _is_prescreened(context, len(cards))
    cards = cards[: context.runs_left]
    if prescreens and len(cards) > 1:
        prescreened = []
        for verdict in _prescreen(replace(context, token=token.part(0.0, PRESCREEN_SHARE)), cards):
            prescreened.append(verdict)
            yield Candidate(verdict)
        worth = _worth_a_run([verdict for verdict in prescreened if verdict.error is None])
        cards = [card for card in cards if card.name in worth]
        whole = replace(context, token=token.part(PRESCREEN_SHARE, 1.0))
    yield from _judged(whole, cards, judge)


def _judged(context: StepContext, cards: Sequence[ExpertCard], judge: Judge) -> Iterator[Candidate]:
    """Each expert's result as it would be kept, with its verdict, in the cards' order."""
    for card, output in _outputs(context, cards):
        if output.image is None:
            yield Candidate(Verdict(expert=card.name, score=0.0, error=output.error))
            continue
        with context.timer.section("finishing"):
            kept = quantize_uint16(output.image, context.image, context.step)
        yield judge.evaluate(card, kept, output.seconds)


def _outputs(context: StepContext, cards: Sequence[ExpertCard]) -> Iterator[tuple[ExpertCard, _Output]]:
    """What each expert made, one after another; side by side where there are several devices."""
    slots = min(len(devices()), len(cards))
    if slots > 1:
        yield from _side_by_side(context, cards, slots)
        return
    for index, card in enumerate(cards):
        part = context.token.part(index / len(cards), (index + 1) / len(cards))
        with context.timer.section("experts"):
            output = _run_expert(context, card, part)
        context.token.check()
        yield card, output


def _side_by_side(
    context: StepContext, cards: Sequence[ExpertCard], slots: int
) -> Iterator[tuple[ExpertCard, _Output]]:
    free: SimpleQueue[int] = SimpleQueue()
    for number in range(slots):
        free.put(number)

    def run(card: ExpertCard) -> _Output:
        number = free.get()
        try:
            with on_device(number):
                return _run_expert(context, card, context.token.watched_by(None))
        finally:
            free.put(number)

    # No more results wait for the judge than there are devices.
    with ThreadPoolExecutor(slots) as threads:
        under_way = deque(threads.submit(run, card) for card in cards[:slots])
        for index, card in enumerate(cards):
            with context.timer.section("experts"):
                output = under_way.popleft().result()
            under_way.extend(threads.submit(run, later) for later in cards[index + slots : index + slots + 1])
            context.token.report((index + 1) / len(cards))
            yield card, output


@dataclass(frozen=True, slots=True)
class _Output:
    """What became of one expert's run."""

    image: Image | None
    error: str
    seconds: float


def _run_expert(context: StepContext, card: ExpertCard, token: ProgressToken) -> _Output:
    started = time.perf_counter()
    try:
        expert = context.experts.get(card.name)
        result = run_expert(expert if card.uses_tta else without_tta(expert), context.image, token)
    except (ExpertError, WeightsError, RegistryError, ResourceError) as error:
        return _Output(None, str(error), 0.0)
    return _Output(result, "", time.perf_counter() - started)


def _is_prescreened(context: StepContext, cards: int) -> bool:
    if context.profile.exhaustive or not context.step.task.spec.can_be_prescreened:
        return False
    affordable = context.runs_left is None or context.runs_left >= 2 * cards
    return affordable and context.image.width * context.image.height > PRESCREEN_ABOVE_PIXELS


def _prescreen(context: StepContext, cards: Sequence[ExpertCard]) -> Iterator[Verdict]:
    """One verdict per expert: the mean over a few crops of the image, each treated as an image of its own.

    Without self-ensemble, for the sake of speed, and because the whole is too large for it.
    """
    cards = [card.without_tta() for card in cards]
    side = min(PRESCREEN_SIDE, PRESCREENED_SIDE // context.step.scale)
    boxes = context.features.crops[:PRESCREEN_CROPS]
    context = replace(context, description="")  # of the whole
    crops = [context.for_crop(Image(cut(context.image, box, largest=side).contiguous())) for box in boxes]
    by_crop = []
    for n, (crop, judge) in enumerate(zip(crops, [Judge(crop) for crop in crops], strict=True)):
        part = context.token.part(n / len(crops), (n + 1) / len(crops))
        by_crop.append([one.verdict for one in _judged(replace(crop, token=part), cards, judge)])
    yield from map(_mean, zip(*by_crop, strict=True))


def _worth_a_run(prescreened: Sequence[Verdict]) -> set[str]:
    """The expert whose prescreen results did best, and the second where that says nothing."""
    best = sorted(prescreened, key=lambda verdict: (verdict.score, verdict.consistency), reverse=True)[:2]
    return {verdict.expert for verdict in best if verdict.score > best[0].score - PRESCREEN_ERROR}


def _mean(verdicts: Sequence[Verdict]) -> Verdict:
    if failed := next((verdict for verdict in verdicts if verdict.error), None):
        return failed.model_copy(update={"stage": "prescreen"})
    return Verdict(
        expert=verdicts[0].expert,
        score=fmean(verdict.score for verdict in verdicts),
        quality=fmean(verdict.quality for verdict in verdicts),
        consistency=fmean(verdict.consistency for verdict in verdicts),
        removal=fmean(verdict.removal for verdict in verdicts),
        seconds=sum(verdict.seconds for verdict in verdicts),
        stage="prescreen",
    )
