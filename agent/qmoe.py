"""Q-MoE, the quality-driven mixture of experts: run the candidates of a step, one after another or scouted first."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from statistics import fmean

from agent.clock import Clock
from agent.finishing import as_kept
from agent.judging import Candidate, Judge, experience, is_known, promise
from agent.state import Step, Verdict
from imaging.control import Control
from imaging.device import device_memory, devices, on_device
from imaging.errors import ResourceError
from imaging.image import Image
from iqa.crops import Box, cut
from iqa.merit import origin_of, worth_a_run
from iqa.seen import Seen
from profiles.schema import Profile
from toolbox.availability import availability
from toolbox.card import ExpertCard
from toolbox.errors import ExpertError, RegistryError, WeightsError
from toolbox.expert import looking_once, run_expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

GLOBAL_TASKS = frozenset({Task.BRIGHTENING, Task.DEHAZING})
"""What these do depends on the whole picture."""
NEVER_SCOUTED = GLOBAL_TASKS | {Task.MOTION_DEBLURRING}
"""What these do to a crop is not what they do to the whole: a crop says too little of how the camera moved."""
SCOUT_ABOVE_PIXELS = 512 * 512
SCOUT_CROPS = 3
SCOUT_SIDE, SCOUTED_SIDE = 192, 512
"""Pixels of the side of a crop, and at most of what is made of it."""
SCOUT_ERROR = 0.02
"""Scores of scouts that differ by less say nothing about the whole; five of five wrong choices were closer."""
LEAST_BYTES = {"S": 0, "M": 1 << 30, "L": 4 << 30, "XL": 8 << 30}
"""What a tile of an expert takes at least, by the memory class of its card."""


def candidates(step: Step, profile: Profile, experts: ExpertPool) -> tuple[ExpertCard, ...]:
    """The experts for a step that can run here and that the profile allows, those of the best experience first.

    By licence and memory of the device, then by preference where that leaves any. Where the profile names an expert
    for the step, it alone.
    """
    cards = [card for card in experts.runnable(step.task, step.scale) if is_allowed(card, profile)]
    named = tuple(card for card in cards if card.name in profile.experts)
    if named:
        return named
    cards = [card for card in cards if LEAST_BYTES[card.memory] <= device_memory()]
    cards.sort(key=lambda card: -promise(card.task, card.name))
    preferred = [card for card in cards if is_preferred(card, profile)]
    return tuple(preferred if preferred or profile.strict_preference else cards)


def absentees(steps: Sequence[Step], profile: Profile, experts: ExpertPool) -> tuple[str, ...]:
    """Why experts that the profile names will not take part in these steps, a sentence each."""
    told, wanted = [], {(step.task, step.scale) for step in steps}
    for card in (card for card in experts.catalogue if card.name in profile.experts):
        can = availability(card, experts.store)
        if (card.task, card.scale) not in wanted:
            told.append(f"{Step(task=card.task, scale=card.scale)} is no step of the plan: {card.name} is not used")
        elif not can.can_run:
            told.append(f"{card.name} cannot run here, so others take its place: {can.advice}")
        elif not is_allowed(card, profile):
            told.append(f"{card.name} is not used: its licence forbids commercial use (non_commercial allows it)")
    return tuple(told)


def is_allowed(card: ExpertCard, profile: Profile) -> bool:
    """Whether a profile allows an expert's licence."""
    return profile.non_commercial or card.commercial != "no"


def is_preferred(card: ExpertCard, profile: Profile) -> bool:
    """Whether an expert is of a profile's preference."""
    return card.preference in ("any", profile.restore_preference)


def favourites(cards: Sequence[ExpertCard], profile: Profile, image: Image, seen: Seen) -> tuple[ExpertCard, ...]:
    """Those of `cards` that are worth a run on `image`: the best by experience come first, then what is unknown.

    All of them where the profile is exhaustive. What is left out has come last on synthesised degradations, in
    pictures in which there was as much beside the step's degradation as in this one (`seen`). Experience is with
    fidelity: where the profile prefers perception, the best of those experts runs in any case. Where the profile is
    fast and the image large, slow experts only where there are no others.
    """
    if profile.fast_4k and image.long_side >= profile.fast_4k_side_threshold:
        cards = [card for card in cards if not card.slow] or cards
    known = [card for card in cards if is_known(card.task, card.name)]
    if len(known) < 2:
        return tuple(cards)
    beside = origin_of(known[0].task, seen).beside
    told = {card.name: experience(card.task, card.name, beside) for card in known}
    cards = sorted(cards, key=lambda card: -told.get(card.name, 0.0))
    if profile.exhaustive:
        return tuple(cards)
    pleasing = {card.name: told[card.name] for card in known if card.preference == "perception"}
    wanted = worth_a_run(pleasing) if pleasing and profile.restore_preference == "perception" else []
    unwanted = told.keys() - {*worth_a_run(told), *wanted}
    return tuple(card for card in cards if card.name not in unwanted)


def run_candidates(
    image: Image,
    step: Step,
    cards: Sequence[ExpertCard],
    profile: Profile,
    experts: ExpertPool,
    *,
    control: Control | None = None,
    clock: Clock | None = None,
    description: str = "",
    seen: Seen | None = None,
    most_runs: int | None = None,
) -> Iterator[Candidate]:
    """Run the experts of `cards` on `image` one after another and judge each result.

    "Keep the input" comes first, for every task but super-resolution. Large images are scouted: all experts run on a
    few informative crops, and only the best of them on the whole, or the best two where the crops cannot tell them
    apart; the others yield their scout verdict alone.

    `seen`: what has been seen of `image` already; candidates are looked at in its crops. `most_runs`: as many experts
    run at most, the first ones, and nothing is scouted where that would take more.
    """
    control = control or Control()
    clock = clock or Clock()
    may_scout = most_runs is None or most_runs >= 2 * len(cards)
    cards = cards[:most_runs]
    judge = Judge(image, step, profile, experts, clock, description, seen)
    if profile.keep_input and step.task is not Task.SUPER_RESOLUTION:
        yield judge.of_input()
    share = 0.0
    if len(cards) > 1 and may_scout and not profile.exhaustive and _is_scouted(image, step):
        share = 0.3
        scouted = []
        for verdict in _scout(image, step, cards, profile, experts, control.part(0.0, share), clock, judge.crops):
            scouted.append(verdict)
            yield Candidate(verdict)
        worth = _worth_a_run([verdict for verdict in scouted if verdict.error is None])
        cards = [card for card in cards if card.name in worth]
    yield from _judged(image, step, cards, experts, judge, control.part(share, 1.0), clock)


def _judged(
    image: Image,
    step: Step,
    cards: Sequence[ExpertCard],
    experts: ExpertPool,
    judge: Judge,
    control: Control,
    clock: Clock,
) -> Iterator[Candidate]:
    """Each expert's result as it would be kept, with its verdict, in the cards' order."""
    for card, made in _each_made(image, cards, experts, control, clock):
        if made.image is None:
            yield Candidate(Verdict(expert=card.name, score=0.0, error=made.error))
            continue
        with clock.part("finishing"):
            kept = as_kept(made.image, image, step)
        yield judge.of(card, kept, made.seconds)


def _each_made(
    image: Image, cards: Sequence[ExpertCard], experts: ExpertPool, control: Control, clock: Clock
) -> Iterator[tuple[ExpertCard, _Made]]:
    """What each expert made, one after another; side by side where there are several devices."""
    seats = min(len(devices()), len(cards))
    if seats > 1:
        yield from _side_by_side(image, cards, experts, control, clock, seats)
        return
    for index, card in enumerate(cards):
        part = control.part(index / len(cards), (index + 1) / len(cards))
        with clock.part("experts"):
            made = _made(image, card, experts, part)
        control.check()
        yield card, made


def _side_by_side(
    image: Image,
    cards: Sequence[ExpertCard],
    experts: ExpertPool,
    control: Control,
    clock: Clock,
    seats: int,
) -> Iterator[tuple[ExpertCard, _Made]]:
    free: SimpleQueue[int] = SimpleQueue()
    for number in range(seats):
        free.put(number)

    def make(card: ExpertCard) -> _Made:
        number = free.get()
        try:
            with on_device(number):
                return _made(image, card, experts, control.watched_by(None))
        finally:
            free.put(number)

    # No more results wait for the judge than there are devices.
    with ThreadPoolExecutor(seats) as threads:
        under_way = deque(threads.submit(make, card) for card in cards[:seats])
        for index, card in enumerate(cards):
            with clock.part("experts"):
                made = under_way.popleft().result()
            under_way.extend(threads.submit(make, later) for later in cards[index + seats : index + seats + 1])
            control.report((index + 1) / len(cards))
            yield card, made


@dataclass(frozen=True, slots=True)
class _Made:
    """What became of one expert's run."""

    image: Image | None
    error: str
    seconds: float


def _made(image: Image, card: ExpertCard, experts: ExpertPool, control: Control) -> _Made:
    started = time.perf_counter()
    try:
        expert = experts.get(card.name)
        result = run_expert(expert if card.views > 1 else looking_once(expert), image, control)
    except (ExpertError, WeightsError, RegistryError, ResourceError) as error:
        return _Made(None, str(error), 0.0)
    return _Made(result, "", time.perf_counter() - started)


def _is_scouted(image: Image, step: Step) -> bool:
    return step.task not in NEVER_SCOUTED and image.width * image.height > SCOUT_ABOVE_PIXELS


def _scout(
    image: Image,
    step: Step,
    cards: Sequence[ExpertCard],
    profile: Profile,
    experts: ExpertPool,
    control: Control,
    clock: Clock,
    crops: Sequence[Box],
) -> Iterator[Verdict]:
    """One verdict per expert: the mean over a few crops of the image, each treated as an image of its own.

    Looked at once, for the sake of speed, and because the whole is too large to be looked at from several sides.
    """
    cards = [card.model_copy(update={"views": 1}) for card in cards]
    side = min(SCOUT_SIDE, SCOUTED_SIDE // step.scale)
    views = [Image(cut(image, box, largest=side).contiguous()) for box in crops[:SCOUT_CROPS]]
    judges = [Judge(view, step, profile, experts, clock) for view in views]
    by_view = []
    for n, (view, judge) in enumerate(zip(views, judges, strict=True)):
        part = control.part(n / len(views), (n + 1) / len(views))
        by_view.append([one.verdict for one in _judged(view, step, cards, experts, judge, part, clock)])
    yield from map(_mean, zip(*by_view, strict=True))


def _worth_a_run(scouted: Sequence[Verdict]) -> set[str]:
    """The expert whose scouts did best, and the second where that says nothing."""
    best = sorted(scouted, key=lambda verdict: (verdict.score, verdict.consistency), reverse=True)[:2]
    return {verdict.expert for verdict in best if verdict.score > best[0].score - SCOUT_ERROR}


def _mean(verdicts: Sequence[Verdict]) -> Verdict:
    if failed := next((verdict for verdict in verdicts if verdict.error), None):
        return failed.model_copy(update={"stage": "scout"})
    return Verdict(
        expert=verdicts[0].expert,
        score=fmean(verdict.score for verdict in verdicts),
        quality=fmean(verdict.quality for verdict in verdicts),
        consistency=fmean(verdict.consistency for verdict in verdicts),
        removal=fmean(verdict.removal for verdict in verdicts),
        seconds=sum(verdict.seconds for verdict in verdicts),
        stage="scout",
    )
