"""Q-MoE, the quality-driven mixture of experts: run and judge the candidates of a step, prescreened or not."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from statistics import fmean

from agent.finishing import quantize_uint16
from agent.judging import Candidate, Judge
from agent.state import Step, Verdict
from agent.timer import Timer
from imaging.device import device_memory, devices, on_device
from imaging.errors import ResourceError
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.candidate_score import origin_of
from iqa.crops import Box, cut
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
    """Those of `cards` that are worth a run on `image`: the best by prior come first, then what is unknown.

    All of them where the profile is exhaustive. What is left out has come last on synthesised degradations, in
    pictures with co-occurring degradations as severe as in this one (`features`). Expert priors are about
    fidelity: where the profile prefers perception, the best of those experts runs in any case. Where the profile is
    fast and the image large, slow experts only where there are no others.
    """
    if profile.fast_4k and image.long_side >= profile.fast_4k_side_threshold:
        cards = [card for card in cards if not card.slow] or cards
    known = [card for card in cards if has_prior(card.task, card.name)]
    if len(known) < 2:
        return tuple(cards)
    co_degradation_severity = origin_of(known[0].task, features).co_degradation_severity
    priors = {card.name: expert_prior(card.task, card.name, co_degradation_severity) for card in known}
    cards = sorted(cards, key=lambda card: -priors.get(card.name, 0.0))
    if profile.exhaustive:
        return tuple(cards)
    pleasing = {card.name: priors[card.name] for card in known if card.preference == "perception"}
    wanted = shortlist_by_prior(pleasing) if pleasing and profile.restore_preference == "perception" else []
    unwanted = priors.keys() - {*shortlist_by_prior(priors), *wanted}
    return tuple(card for card in cards if card.name not in unwanted)


def run_candidates(
    image: Image,
    step: Step,
    cards: Sequence[ExpertCard],
    profile: Profile,
    experts: ExpertPool,
    *,
    token: ProgressToken | None = None,
    timer: Timer | None = None,
    description: str = "",
    features: ImageFeatures | None = None,
    most_runs: int | None = None,
) -> Iterator[Candidate]:
    """Run the experts of `cards` on `image` one after another and judge each result.

    "Keep the input" comes first, for every task but super-resolution. Large images are prescreened: all experts run
    on a few informative crops, and only the best of them on the whole, or the best two where the crops cannot tell
    them apart; the others yield their prescreen verdict alone.

    `features`: what has been seen of `image` already; candidates are looked at in its crops. `most_runs`: as many
    experts run at most, the first ones, and nothing is prescreened where that would take more.
    """
    token = token or ProgressToken()
    timer = timer or Timer()
    may_prescreen = most_runs is None or most_runs >= 2 * len(cards)
    cards = cards[:most_runs]
    judge = Judge(image, step, profile, experts, timer, description, features)
    if profile.keep_input and step.task is not Task.SUPER_RESOLUTION:
        yield judge.evaluate_input()
    share = 0.0
    if len(cards) > 1 and may_prescreen and not profile.exhaustive and _is_prescreened(image, step):
        share = 0.3
        prescreened = []
        for verdict in _prescreen(image, step, cards, profile, experts, token.part(0.0, share), timer, judge.crops):
            prescreened.append(verdict)
            yield Candidate(verdict)
        worth = _worth_a_run([verdict for verdict in prescreened if verdict.error is None])
        cards = [card for card in cards if card.name in worth]
    yield from _judged(image, step, cards, experts, judge, token.part(share, 1.0), timer)


def _judged(
    image: Image,
    step: Step,
    cards: Sequence[ExpertCard],
    experts: ExpertPool,
    judge: Judge,
    token: ProgressToken,
    timer: Timer,
) -> Iterator[Candidate]:
    """Each expert's result as it would be kept, with its verdict, in the cards' order."""
    for card, output in _outputs(image, cards, experts, token, timer):
        if output.image is None:
            yield Candidate(Verdict(expert=card.name, score=0.0, error=output.error))
            continue
        with timer.section("finishing"):
            kept = quantize_uint16(output.image, image, step)
        yield judge.evaluate(card, kept, output.seconds)


def _outputs(
    image: Image, cards: Sequence[ExpertCard], experts: ExpertPool, token: ProgressToken, timer: Timer
) -> Iterator[tuple[ExpertCard, _Output]]:
    """What each expert made, one after another; side by side where there are several devices."""
    slots = min(len(devices()), len(cards))
    if slots > 1:
        yield from _side_by_side(image, cards, experts, token, timer, slots)
        return
    for index, card in enumerate(cards):
        part = token.part(index / len(cards), (index + 1) / len(cards))
        with timer.section("experts"):
            output = _run_expert(image, card, experts, part)
        token.check()
        yield card, output


def _side_by_side(
    image: Image,
    cards: Sequence[ExpertCard],
    experts: ExpertPool,
    token: ProgressToken,
    timer: Timer,
    slots: int,
) -> Iterator[tuple[ExpertCard, _Output]]:
    free: SimpleQueue[int] = SimpleQueue()
    for number in range(slots):
        free.put(number)

    def run(card: ExpertCard) -> _Output:
        number = free.get()
        try:
            with on_device(number):
                return _run_expert(image, card, experts, token.watched_by(None))
        finally:
            free.put(number)

    # No more results wait for the judge than there are devices.
    with ThreadPoolExecutor(slots) as threads:
        under_way = deque(threads.submit(run, card) for card in cards[:slots])
        for index, card in enumerate(cards):
            with timer.section("experts"):
                output = under_way.popleft().result()
            under_way.extend(threads.submit(run, later) for later in cards[index + slots : index + slots + 1])
            token.report((index + 1) / len(cards))
            yield card, output


@dataclass(frozen=True, slots=True)
class _Output:
    """What became of one expert's run."""

    image: Image | None
    error: str
    seconds: float


def _run_expert(image: Image, card: ExpertCard, experts: ExpertPool, token: ProgressToken) -> _Output:
    started = time.perf_counter()
    try:
        expert = experts.get(card.name)
        result = run_expert(expert if card.uses_tta else without_tta(expert), image, token)
    except (ExpertError, WeightsError, RegistryError, ResourceError) as error:
        return _Output(None, str(error), 0.0)
    return _Output(result, "", time.perf_counter() - started)


def _is_prescreened(image: Image, step: Step) -> bool:
    return step.task.spec.can_be_prescreened and image.width * image.height > PRESCREEN_ABOVE_PIXELS


def _prescreen(
    image: Image,
    step: Step,
    cards: Sequence[ExpertCard],
    profile: Profile,
    experts: ExpertPool,
    token: ProgressToken,
    timer: Timer,
    crops: Sequence[Box],
) -> Iterator[Verdict]:
    """One verdict per expert: the mean over a few crops of the image, each treated as an image of its own.

    Looked at once, for the sake of speed, and because the whole is too large to be looked at from several sides.
    """
    cards = [card.without_tta() for card in cards]
    side = min(PRESCREEN_SIDE, PRESCREENED_SIDE // step.scale)
    pictures = [Image(cut(image, box, largest=side).contiguous()) for box in crops[:PRESCREEN_CROPS]]
    judges = [Judge(picture, step, profile, experts, timer) for picture in pictures]
    by_picture = []
    for n, (picture, judge) in enumerate(zip(pictures, judges, strict=True)):
        part = token.part(n / len(pictures), (n + 1) / len(pictures))
        by_picture.append([one.verdict for one in _judged(picture, step, cards, experts, judge, part, timer)])
    yield from map(_mean, zip(*by_picture, strict=True))


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
