"""Q-MoE, the quality-driven mixture of experts: run and judge the candidates of a step, prescreened or not."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue
from statistics import fmean

from agent.finishing import quantize_uint16
from agent.judging import Candidate, Judge
from agent.state import Step, Verdict, expert_of
from agent.step_context import StepContext
from agent.worth import ranking_gains
from imaging.device import best_device, device_memory, devices, on_device, teraflops
from imaging.errors import ResourceError
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.candidate_score import origin_of
from iqa.crops import cut
from iqa.expected_gain import shortlist_by_gain
from iqa.expert_priors import best_prior, expert_prior, has_prior, shortlist_by_prior
from iqa.features import ImageFeatures
from profiles.schema import Profile
from toolbox.availability import availability
from toolbox.card import ExpertCard, SpandrelCard
from toolbox.errors import ExpertError, RegistryError, WeightsError
from toolbox.expert import run_expert, without_tta
from toolbox.faces.models import face_models
from toolbox.pool import ExpertPool
from toolbox.starter import missing_starters
from toolbox.tasks import Task

PRESCREEN_ABOVE_PIXELS = 512 * 512
PRESCREEN_CROPS = 3
CLEAR_DIFFERENCE = 0.04
"""Difference of the mean scores of two enlargers from which no further crop is taken: twice the standard error of the
mean over three crops, between which it varies with a standard deviation of 0.035.
"""
PRESCREEN_SIDE, PRESCREENED_SIDE = 192, 512
"""Side of a crop, and maximum side of its result, in pixels."""
PRESCREEN_SHARE = 0.3
"""Share of a step's progress."""
PRESCREEN_ERROR = 0.02
"""Prescreen scores that differ by less are a tie: in five of five wrong choices the difference was smaller."""
MOST_ON_THE_WHOLE = 2
"""Experts that run on the whole of a prescreened picture if they tie. Of enlargers, whose runs take the longest, one
runs (`python -m benchmarks.enlargers` measures what that loses), or one with and one without generated texture.
"""
LEAST_BYTES = {"S": 0, "M": 1 << 30, "L": 4 << 30, "XL": 8 << 30}
"""Minimum memory for a tile of an expert, by the memory class of its card."""


def candidates(step: Step, profile: Profile, experts: ExpertPool) -> tuple[ExpertCard, ...]:
    """The experts for a step that can run here and that the profile allows, those of the best prior first.

    Filtered by licence and device memory, and by preference unless that leaves none. If the profile names experts for
    the step, only those; cards with `named_only` or `stands_in_for` are candidates only then.
    """
    cards = [card for card in experts.runnable(step.task, step.scale) if is_allowed(card, profile)]
    named = set(map(expert_of, profile.experts))
    if chosen := tuple(card for card in cards if card.name in named):
        return chosen
    cards = [card for card in cards if not card.named_only and not card.stands_in_for]
    cards = [card for card in cards if LEAST_BYTES[card.memory] <= device_memory()]
    cards.sort(key=lambda card: -best_prior(card.task, card.name))
    preferred = [card for card in cards if is_preferred(card, profile)]
    return tuple(preferred if preferred or profile.strict_preference else cards)


def unavailable_experts(steps: Sequence[Step], profile: Profile, experts: ExpertPool) -> tuple[str, ...]:
    """Messages about experts that the profile names and that will not run in these steps."""
    messages, wanted = [], {(step.task, step.scale) for step in steps}
    named = set(map(expert_of, profile.experts))
    for card in (card for card in experts.catalogue if card.name in named):
        can = availability(card, experts.store)
        if (card.task, card.scale) not in wanted:
            messages.append(f"{Step(task=card.task, scale=card.scale)} is not in the plan: {card.name} is not used")
        elif not can.can_run:
            messages.append(f"{card.name} cannot run here, other experts are used: {can.advice}")
        elif not is_allowed(card, profile):
            messages.append(f"{card.name} is not used: its licence forbids commercial use (non_commercial allows it)")
    return tuple(messages)


def helpful_downloads(steps: Sequence[Step], profile: Profile, experts: ExpertPool) -> tuple[str, ...]:
    """The downloads of the starter set that these steps would have used, and what each gains."""
    missing, done = missing_starters(experts.store), {(step.task, step.scale) for step in steps}
    names = [
        card.name
        for card in experts.catalogue
        if card.name in missing and (card.task, card.scale) in done and is_preferred(card, profile)
    ]
    if (Task.FACE_RESTORATION, 1) in done:
        names += [name for name in face_models() if name in missing]
    return tuple(f"{name}: {missing[name]}" for name in names)


def is_allowed(card: ExpertCard, profile: Profile) -> bool:
    """Whether a profile allows an expert's licence."""
    return profile.non_commercial or card.commercial != "no"


def is_preferred(card: ExpertCard, profile: Profile) -> bool:
    """Whether an expert matches a profile's preference; for enlargements its `detail`, if that is set."""
    if card.task is not Task.SUPER_RESOLUTION or profile.detail is None:
        return card.preference in ("any", profile.restore_preference)
    if card.preference == "perception":
        return profile.detail > 0
    return card.preference == "any" or profile.detail < 1


def _prefers_perception(profile: Profile, task: Task) -> bool:
    return profile.wants_texture if task is Task.SUPER_RESOLUTION else profile.restore_preference == "perception"


def seconds_on_cpu(card: ExpertCard, pixels: int) -> float:
    """Estimated run time of an expert on a CPU, from its card; 0 for fast experts and on other devices."""
    speed = teraflops(best_device())
    computation = card.teraflop if isinstance(card, SpandrelCard) else 0.0
    return computation * pixels / 1e6 / speed if speed else 0.0


def shortlist(
    cards: Sequence[ExpertCard], profile: Profile, image: Image, features: ImageFeatures
) -> tuple[ExpertCard, ...]:
    """The experts of `cards` to run on `image`: the best by expected gain first, then experts without gain or prior.

    All of them if the profile is exhaustive. Gains are predicted from the features of this picture. They measure
    fidelity: if the profile prefers perception, the best perceptual expert runs in any case. With a fast profile and
    a large image, slow experts run only if there are no others.
    """
    if profile.fast_4k and image.long_side >= profile.fast_4k_side_threshold:
        cards = [card for card in cards if not card.slow] or cards
    ranked = _ranked(cards, features)
    cards = sorted(cards, key=lambda card: ranked.order.get(card.name, 0))
    if len(ranked.order) < 2 or profile.exhaustive:
        return tuple(cards)
    perceptual = [card.name for card in cards if card.name in ranked.order and card.preference == "perception"]
    wanted = perceptual[:1] if _prefers_perception(profile, cards[0].task) else []
    unwanted = ranked.order.keys() - {*ranked.best, *wanted}
    return tuple(card for card in cards if card.name not in unwanted)


def with_stand_ins(context: StepContext, cards: Sequence[ExpertCard]) -> tuple[ExpertCard, ...]:
    """`cards`; on a CPU, if the image was enlarged before, with the smaller networks that stand in for them.

    Experts that the profile names, and all of an exhaustive profile, stay.
    """
    profile, step = context.profile, context.step
    if not context.is_enlarged or best_device().type != "cpu" or profile.exhaustive:
        return tuple(cards)
    smaller = {card.stands_in_for: card for card in context.experts.runnable(step.task, step.scale)}
    named = set(map(expert_of, profile.experts))
    return tuple(card if card.name in named else smaller.get(card.name, card) for card in cards)


@dataclass(frozen=True, slots=True)
class _Ranking:
    """The experts of a step that have an expected gain or a prior."""

    order: dict[str, int]
    """Sort keys, the best first; negative, so that experts without gain or prior come last."""
    best: list[str]
    """Experts that may give the best result."""


def _ranked(cards: Sequence[ExpertCard], features: ImageFeatures) -> _Ranking:
    """Ranks experts by their expected gain on this picture, then those that have only a prior."""
    if not cards:
        return _Ranking({}, [])
    task, names = cards[0].task, {card.name for card in cards}
    gains = {name: gain for name, gain in ranking_gains(features, task).items() if name in names}
    severity = origin_of(task, features).co_degradation_severity
    priors = {name: expert_prior(task, name, severity) for name in names if has_prior(task, name)}
    order = sorted(gains, key=lambda name: -gains[name].median_db)
    order += sorted(priors.keys() - gains.keys(), key=lambda name: -priors[name])
    best = shortlist_by_gain(gains) if gains else shortlist_by_prior(priors)
    return _Ranking({name: place - len(order) for place, name in enumerate(order)}, best)


def run_candidates(context: StepContext, cards: Sequence[ExpertCard]) -> Iterator[Candidate]:
    """Run the experts of `cards` on an image one after another and judge each result.

    "Keep the input" comes first, except in super-resolution. Large images are prescreened: all experts run on a few
    informative crops, and only the best of them on the whole image, or the best two if their prescreen scores tie and
    they do not enlarge; the others yield only their prescreen verdict. Enlargers that generate texture, where it is
    wanted, compete among themselves: the best of them runs, and the best of the others. If the budget allows fewer
    runs than there are cards, the first ones run, and prescreening is skipped if it would exceed the budget.
    """
    judge, token = Judge(context), context.token
    if context.profile.keep_input and context.step.task is not Task.SUPER_RESOLUTION:
        yield judge.evaluate_input()
    start, prescreens = 0.0, _is_prescreened(context, len(cards))
    cards = cards[: context.runs_left]
    if prescreens and len(cards) > 1:
        generative = textured(context, cards)
        kinds = [[card for card in cards if card not in generative], generative]
        cards = []
        for n, kind in enumerate(kinds):
            part = token.part(PRESCREEN_SHARE * n / len(kinds), PRESCREEN_SHARE * (n + 1) / len(kinds))
            cards += yield from _best_on_crops(replace(context, token=part), kind)
        start = PRESCREEN_SHARE
    others = _on_other_inputs(context, cards)
    elsewhere = {card.name for card, suffix in others if f"{card.name}{suffix}" in context.profile.experts}
    cards = [card for card in cards if card.name not in elsewhere - set(context.profile.experts)]
    end = start + (1 - start) * len(cards) / max(1, len(cards) + len(others))
    yield from _judged(replace(context, token=token.part(start, end)), cards, judge)
    for index, (card, suffix) in enumerate(others):
        part = token.part(end + (1 - end) * index / len(others), end + (1 - end) * (index + 1) / len(others))
        yield _on_other_input(context, card, suffix, judge, part)


def textured(context: StepContext, cards: Sequence[ExpertCard]) -> list[ExpertCard]:
    """The networks of `cards` that generate texture, where an enlargement shall have some."""
    if context.step.task is not Task.SUPER_RESOLUTION or not context.profile.wants_texture:
        return []
    return [card for card in cards if card.preference == "perception" and card.loader != "classical"]


def _best_on_crops(
    context: StepContext, cards: Sequence[ExpertCard]
) -> Generator[Candidate, None, Sequence[ExpertCard]]:
    """Prescreen `cards`, if there are several; returns those to run on the whole image."""
    if len(cards) < 2:
        return cards
    verdicts = list[Verdict]()
    for verdict in prescreen(context, cards):
        verdicts.append(verdict)
        yield Candidate(verdict)
    most = 1 if context.step.task is Task.SUPER_RESOLUTION else MOST_ON_THE_WHOLE
    worth = worth_a_run([verdict for verdict in verdicts if verdict.error is None], most)
    return [card for card in cards if card.name in worth]


def _on_other_inputs(context: StepContext, cards: Sequence[ExpertCard]) -> list[tuple[ExpertCard, str]]:
    """The blind super-resolution experts that also run on the context's other inputs, with the suffix of each.

    Blind networks remove noise and JPEG blocks while they enlarge, sometimes better than the steps before.
    """
    both = [(card, suffix) for suffix in context.other_inputs for card in cards]
    if named := [(card, suffix) for card, suffix in both if f"{card.name}{suffix}" in context.profile.experts]:
        return named
    blind = [card for card in cards if card.preference == "perception" or context.profile.exhaustive]
    pixels, limit = context.image.width * context.image.height, context.expert_seconds
    inputs = 1 + len(context.other_inputs)
    blind = [card for card in blind if limit is None or inputs * seconds_on_cpu(card, pixels) <= limit]
    if context.runs_left is not None and context.runs_left < len(cards) + len(blind) * (inputs - 1):
        return []
    return [(card, suffix) for suffix in context.other_inputs for card in blind]


def _on_other_input(
    context: StepContext, card: ExpertCard, suffix: str, judge: Judge, token: ProgressToken
) -> Candidate:
    """The result of an expert on one of the context's other inputs, judged like those on its image."""
    image, name = context.other_inputs[suffix], f"{card.name}{suffix}"
    with context.timer.section("experts"):
        output = _run_expert(replace(context, image=image, other_inputs={}), card, token)
    if output.image is None:
        return Candidate(Verdict(expert=name, score=0.0, error=output.error))
    with context.timer.section("finishing"):
        kept = quantize_uint16(output.image, image, context.step, name)
    candidate = judge.evaluate(card, kept, output.seconds)
    return replace(candidate, verdict=candidate.verdict.model_copy(update={"expert": name}))


def _judged(context: StepContext, cards: Sequence[ExpertCard], judge: Judge) -> Iterator[Candidate]:
    """Each expert's result, quantized as it would be stored, with its verdict, in the order of `cards`."""
    for card, output in _outputs(context, cards):
        if output.image is None:
            yield Candidate(Verdict(expert=card.name, score=0.0, error=output.error))
            continue
        with context.timer.section("finishing"):
            kept = quantize_uint16(output.image, context.image, context.step, card.name)
        yield judge.evaluate(card, kept, output.seconds)


def _outputs(context: StepContext, cards: Sequence[ExpertCard]) -> Iterator[tuple[ExpertCard, _Output]]:
    """The output of each expert, in order; they run in parallel on several devices."""
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

    # At most one result per device waits for the judge.
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
    """The outcome of one expert's run."""

    image: Image | None
    error: str
    seconds: float


def _run_expert(context: StepContext, card: ExpertCard, token: ProgressToken) -> _Output:
    started = time.perf_counter()
    try:
        expert = context.experts.get(card.name, token)
        result = run_expert(expert if card.uses_tta else without_tta(expert), context.image, token)
    except (ExpertError, WeightsError, RegistryError, ResourceError) as error:
        return _Output(None, str(error), 0.0)
    return _Output(result, "", time.perf_counter() - started)


def _is_prescreened(context: StepContext, cards: int) -> bool:
    if context.profile.exhaustive or not context.step.task.spec.can_be_prescreened:
        return False
    affordable = context.runs_left is None or context.runs_left >= 2 * cards
    return affordable and context.image.width * context.image.height > PRESCREEN_ABOVE_PIXELS


def prescreen(context: StepContext, cards: Sequence[ExpertCard]) -> Iterator[Verdict]:
    """One verdict per expert: the mean over a few crops, each treated as a separate image.

    Enlargers, of which only one runs on the whole, are compared on further crops until the difference is clear.
    Self-ensemble is off, for speed and because the whole image is too large for it.
    """
    cards = [card.without_tta() for card in cards]
    side = min(PRESCREEN_SIDE, PRESCREENED_SIDE // context.step.scale)
    enlarges = context.step.task is Task.SUPER_RESOLUTION
    boxes = context.features.crops[: None if enlarges else PRESCREEN_CROPS]
    context = replace(context, description="")  # it describes the whole image
    # Predicted from the whole picture, because no second enlarger runs on it to correct the choice.
    gains = ranking_gains(context.features, context.step.task) if enlarges else None
    by_crop = list[list[Verdict]]()
    for n, box in enumerate(boxes):
        if n >= PRESCREEN_CROPS and _is_clear(by_crop):
            break
        crop = context.for_crop(Image(cut(context.image, box, largest=side).contiguous()))
        part = context.token.part(n / len(boxes), (n + 1) / len(boxes))
        judged = _judged(replace(crop, token=part), cards, Judge(crop, gains))
        by_crop.append([one.verdict for one in judged])
    yield from map(_mean, zip(*by_crop, strict=True))


def _is_clear(by_crop: Sequence[Sequence[Verdict]]) -> bool:
    """Whether the best expert's mean score over the crops exceeds that of the second by `CLEAR_DIFFERENCE`."""
    scores = (fmean(one.score for one in crops) for crops in zip(*by_crop, strict=True))
    first, second, *_ = sorted(scores, reverse=True)
    return first - second >= CLEAR_DIFFERENCE


def worth_a_run(prescreened: Sequence[Verdict], most: int) -> set[str]:
    """The expert with the best prescreen score, and those that tie with it, up to `most` in all."""
    best = sorted(prescreened, key=lambda verdict: (verdict.score, verdict.consistency), reverse=True)[:most]
    return {verdict.expert for verdict in best if verdict.score > best[0].score - PRESCREEN_ERROR}


def _mean(verdicts: Sequence[Verdict]) -> Verdict:
    if failed := next((verdict for verdict in verdicts if verdict.error), None):
        return failed.model_copy(update={"stage": "prescreen"})
    return Verdict(
        expert=verdicts[0].expert,
        score=fmean(verdict.score for verdict in verdicts),
        quality=fmean(verdict.quality for verdict in verdicts),
        consistency=fmean(verdict.consistency for verdict in verdicts),
        seconds=sum(verdict.seconds for verdict in verdicts),
        stage="prescreen",
    )
