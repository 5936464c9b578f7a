"""Q-MoE, the quality-driven mixture of experts: run the candidates of a step, judge them, keep the best."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from statistics import fmean

from agent.clock import Clock
from agent.state import KEEP_INPUT, Step, Verdict
from imaging.control import Control
from imaging.image import Image
from iqa.consistency import consistency
from iqa.crops import crops_of, cut
from iqa.degradations import estimates_from
from iqa.evidence.measure import measure_evidence
from iqa.evidence.view import view_of
from iqa.quality import Quality, quality_of
from profiles.schema import Profile
from toolbox.card import ExpertCard
from toolbox.catalogue import Catalogue
from toolbox.errors import ExpertError, RegistryError, WeightsError
from toolbox.expert import run_expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

GLOBAL_TASKS = frozenset({Task.BRIGHTENING, Task.DEHAZING})
"""What these do to a crop is not what they do to the whole: they are never scouted."""
SCOUT_ABOVE_PIXELS = 512 * 512
LEAST_LEVEL = 0.5
"""Below half a level of severity, what is left of it is the estimator's own noise."""
SCOUT_CROPS = 3
SCOUT_SIDE = 192


@dataclass(frozen=True, slots=True)
class Candidate:
    """One expert's result with its verdict; no image where the expert failed or was only scouted."""

    verdict: Verdict
    image: Image | None = None


def candidates(step: Step, profile: Profile, catalogue: Catalogue) -> tuple[ExpertCard, ...]:
    """The experts that the profile allows for a step: by licence, then by preference where that leaves any."""
    cards = [
        card
        for card in catalogue.for_task(step.task, step.scale)
        if profile.non_commercial or card.commercial != "no"
    ]
    preferred = [card for card in cards if card.preference in ("any", profile.restore_preference)]
    return tuple(preferred or cards)


def run_candidates(
    image: Image,
    step: Step,
    cards: Sequence[ExpertCard],
    profile: Profile,
    experts: ExpertPool,
    *,
    control: Control | None = None,
    clock: Clock | None = None,
) -> Iterator[Candidate]:
    """Run the experts of `cards` on `image` one after another and judge each result.

    "Keep the input" comes first, for every task but super-resolution. Large images are scouted: all experts run on a
    few informative crops, and only the best of them on the whole; the others yield their scout verdict alone."""
    control = control or Control()
    clock = clock or Clock()
    judge = _Judge(image, step, profile, clock)
    if profile.keep_input and step.task is not Task.SUPER_RESOLUTION:
        yield Candidate(judge.of_input(), image)
    share = 0.0
    if len(cards) > 1 and not profile.exhaustive and _is_scouted(image, step):
        share = 0.3
        scouted = []
        for verdict in _scout(image, step, cards, profile, experts, control.part(0.0, share), clock):
            scouted.append(verdict)
            yield Candidate(verdict)
        best = max(scouted, key=_rank)
        cards = [card for card in cards if card.name == best.expert and best.error is None]
    for index, card in enumerate(cards):
        part = control.part(share + (1 - share) * index / len(cards), share + (1 - share) * (index + 1) / len(cards))
        yield _run_one(image, card, experts, judge, part, clock)


def select_best(judged: Iterable[Candidate]) -> Candidate | None:
    """The candidate with the best verdict among those that have an image; a tie goes to the more faithful one."""
    best: Candidate | None = None
    for candidate in judged:
        if candidate.image is None:
            continue
        if best is None or _rank(candidate.verdict) > _rank(best.verdict):
            best = candidate
    return best


def _rank(verdict: Verdict) -> tuple[float, float]:
    return (verdict.score, verdict.consistency)


def _run_one(
    image: Image, card: ExpertCard, experts: ExpertPool, judge: _Judge, control: Control, clock: Clock
) -> Candidate:
    started = time.perf_counter()
    try:
        with clock.part("experts"):
            result = run_expert(experts.get(card.name), image, control)
    except (ExpertError, WeightsError, RegistryError) as error:
        return Candidate(Verdict(expert=card.name, score=0.0, error=str(error)))
    seconds = time.perf_counter() - started
    control.check()
    return Candidate(judge.of(card.name, result, seconds), result)


def _is_scouted(image: Image, step: Step) -> bool:
    return step.task not in GLOBAL_TASKS and image.width * image.height > SCOUT_ABOVE_PIXELS


def _scout(
    image: Image,
    step: Step,
    cards: Sequence[ExpertCard],
    profile: Profile,
    experts: ExpertPool,
    control: Control,
    clock: Clock,
) -> Iterator[Verdict]:
    """One verdict per expert: the mean over a few crops of the image, each treated as an image of its own."""
    with clock.part("scoring"):
        views = [Image(cut(image, box, largest=SCOUT_SIDE).contiguous()) for box in crops_of(image)[:SCOUT_CROPS]]
    judges = [_Judge(view, step, profile, clock) for view in views]
    for index, card in enumerate(cards):
        part = control.part(index / len(cards), (index + 1) / len(cards))
        runs = [
            _run_one(view, card, experts, judge, part.part(n / len(views), (n + 1) / len(views)), clock).verdict
            for n, (view, judge) in enumerate(zip(views, judges, strict=True))
        ]
        yield _mean(runs)


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


class _Judge:
    """Gives verdicts on what experts made of one image in one step, all by the same crops."""

    def __init__(self, before: Image, step: Step, profile: Profile, clock: Clock) -> None:
        self._before = before
        self._step = step
        self._profile = profile
        self._clock = clock
        with clock.part("scoring"):
            self._crops = crops_of(before)
            self._quality, self._level = self._look(before)

    def of_input(self) -> Verdict:
        """The verdict on doing nothing."""
        return self._verdict(KEEP_INPUT, self._quality, 1.0, 0.0, 0.0)

    def of(self, expert: str, result: Image, seconds: float) -> Verdict:
        """The verdict on an expert's result."""
        with self._clock.part("scoring"):
            measured, level = self._look(result)
            faithful = consistency(self._step.task, self._before, result)
        return self._verdict(expert, measured, faithful, self._removal(level), seconds)

    def _look(self, image: Image) -> tuple[Quality, float]:
        """The quality, and how much of the step's degradation the estimator sees: levels of severity, 0 to 4."""
        view = view_of(image, self._crops)
        evidence = measure_evidence(view)
        estimate = estimates_from(evidence).get(self._step.task.degradation)
        return quality_of(view, evidence), estimate.level if estimate else 0.0

    def _verdict(self, expert: str, measured: Quality, faithful: float, removal: float, seconds: float) -> Verdict:
        weights = _weights()
        removal_weight = 0.0 if self._step.task is Task.SUPER_RESOLUTION else weights["removal"]
        judged = (measured.score * weights["quality"] + removal * removal_weight) / (
            weights["quality"] + removal_weight
        )
        share = self._profile.fidelity_weight
        return Verdict(
            expert=expert,
            score=(1 - share) * judged + share * faithful,
            quality=measured.score,
            consistency=faithful,
            removal=removal,
            metrics=dict(measured.parts),
            seconds=seconds,
        )

    def _removal(self, level: float) -> float:
        """The share of the degradation that is gone in the eyes of the estimator; negative where it has grown."""
        if self._level == 0 or self._step.task is Task.SUPER_RESOLUTION:
            return 0.0
        return max(-1.0, (self._level - level) / max(self._level, LEAST_LEVEL))


@cache
def _experience() -> dict[str, dict[str, float]]:
    """By task and expert: how much nearer to the truth than its rivals it came on synthesised degradations."""
    return tomllib.loads((resources.files("agent") / "experience.toml").read_text("utf-8"))


@cache
def _weights() -> dict[str, float]:
    table = tomllib.loads((resources.files("agent") / "judge.toml").read_text("utf-8"))
    return {name: float(value) for name, value in table["weights"].items()}
