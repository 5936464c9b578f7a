"""Q-MoE, the quality-driven mixture of experts: prescreens, runs and judges the experts of a step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue
from statistics import fmean
from typing import TypeAlias

from agent.expert_choice import seconds_on_cpu
from agent.finishing import quantize_uint16
from agent.judging import Candidate, Judge
from agent.state import Verdict
from agent.step_context import StepContext
from agent.worth import ranking_gains
from imaging.device import devices, on_device
from imaging.errors import ResourceError
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.crops import cut
from toolbox.card import ExpertCard
from toolbox.errors import ExpertError, RegistryError, WeightsError
from toolbox.expert import run_expert, without_tta
from toolbox.tasks import Task

PRESCREEN_ABOVE_PIXELS = 512 * 512
PRESCREEN_CROPS = 3
CLEAR_DIFFERENCE = 0.04
"""Difference of the mean scores of two enlargers from which no further crop is taken: twice its standard error over
three crops (its standard deviation between crops is 0.035).
"""
PRESCREEN_SIDE, PRESCREENED_SIDE = 192, 512
"""Side of a crop, and maximum side of its result, in pixels."""
PRESCREEN_SHARE = 0.3
"""Share of a step's progress that prescreening takes."""
PRESCREEN_ERROR = 0.02
"""Prescreen scores that differ by less are a tie: in five of five wrong choices the difference was smaller."""
MOST_ON_THE_WHOLE = 2
"""Maximum number of tied experts that run on the whole of a prescreened picture. Of enlargers, which take longest,
only one runs (`python -m benchmarks.enlargers` measures the loss), or one with and one without generated texture.
"""
Run: TypeAlias = tuple[ExpertCard, str]
"""An expert, and the suffix of the input on which it runs: empty, or one of the context's other inputs."""


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
    runs = [*((card, "") for card in cards), *others]
    yield from _judged(replace(context, token=token.part(start, 1)), runs, judge)


def textured(context: StepContext, cards: Sequence[ExpertCard]) -> list[ExpertCard]:
    """The networks of `cards` that generate texture, if the profile wants it in this enlargement."""
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


def _on_other_inputs(context: StepContext, cards: Sequence[ExpertCard]) -> list[Run]:
    """The blind super-resolution experts that also run on the context's other inputs, with the suffix of each.

    Blind networks remove noise and JPEG blocks while they enlarge, sometimes better than the steps before. The
    small networks that stand in for them turn both into texture.
    """
    both = [(card, suffix) for suffix in context.other_inputs for card in cards]
    if named := [(card, suffix) for card, suffix in both if f"{card.name}{suffix}" in context.profile.experts]:
        return named
    blind = [
        card
        for card in cards
        if (card.preference == "perception" and not card.stands_in_for) or context.profile.exhaustive
    ]
    pixels, limit = context.image.width * context.image.height, context.expert_seconds
    inputs = 1 + len(context.other_inputs)
    blind = [card for card in blind if limit is None or inputs * seconds_on_cpu(card, pixels) <= limit]
    if context.runs_left is not None and context.runs_left < len(cards) + len(blind) * (inputs - 1):
        return []
    return [(card, suffix) for suffix in context.other_inputs for card in blind]


def _judged(context: StepContext, runs: Sequence[Run], judge: Judge) -> Iterator[Candidate]:
    """Each result, quantized as it would be stored, with its verdict, in the order of `runs`."""
    for (card, suffix), output in _outputs(context, runs):
        name = f"{card.name}{suffix}"
        if output.image is None:
            yield Candidate(Verdict(expert=name, score=0.0, error=output.error))
            continue
        with context.timer.section("finishing"):
            quantized = quantize_uint16(output.image, context.input_of(suffix), context.step, name)
        yield judge.evaluate(card, quantized, output.seconds, name)


def _outputs(context: StepContext, runs: Sequence[Run]) -> Iterator[tuple[Run, _Output]]:
    """The output of each run, in order; they run in parallel on several devices."""
    slots = min(len(devices()), len(runs))
    if slots > 1:
        yield from _side_by_side(context, runs, slots)
        return
    for index, run in enumerate(runs):
        part = context.token.part(index / len(runs), (index + 1) / len(runs))
        with context.timer.section("experts"):
            output = _run_expert(context, run, part)
        context.token.check()
        yield run, output


def _side_by_side(context: StepContext, runs: Sequence[Run], slots: int) -> Iterator[tuple[Run, _Output]]:
    free: SimpleQueue[int] = SimpleQueue()
    for number in range(slots):
        free.put(number)

    def on_free_device(run: Run) -> _Output:
        number = free.get()
        try:
            with on_device(number):
                return _run_expert(context, run, context.token.watched_by(None))
        finally:
            free.put(number)

    # At most one result per device waits for the judge.
    with ThreadPoolExecutor(slots) as threads:
        under_way = deque(threads.submit(on_free_device, run) for run in runs[:slots])
        for index, run in enumerate(runs):
            with context.timer.section("experts"):
                output = under_way.popleft().result()
            under_way.extend(
                threads.submit(on_free_device, later) for later in runs[index + slots : index + slots + 1]
            )
            context.token.report((index + 1) / len(runs))
            yield run, output


@dataclass(frozen=True, slots=True)
class _Output:
    """The outcome of one expert's run."""

    image: Image | None
    error: str
    seconds: float


def _run_expert(context: StepContext, run: Run, token: ProgressToken) -> _Output:
    started, (card, suffix) = time.perf_counter(), run
    try:
        expert = context.experts.get(card.name, token)
        result = run_expert(expert if card.uses_tta else without_tta(expert), context.input_of(suffix), token)
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

    Enlargers, of which only one runs on the whole image, are compared on further crops until the difference is clear.
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
        judged = _judged(replace(crop, token=part), [(card, "") for card in cards], Judge(crop, gains))
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
    return Verdict.mean(verdicts[0].expert, verdicts, stage="prescreen")
