"""Verdicts on the candidates of a step, and the choice among them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from agent.clock import Clock
from agent.state import KEEP_INPUT, FaceWork, Step, Verdict
from imaging.image import Image
from imaging.pixels import strips
from iqa.consistency import consistency
from iqa.crops import Box
from iqa.merit import UNCLEAN_LEVEL, Merit, known_of, origin_of, own_error, removal, score
from iqa.published import chosen, measure_published
from iqa.quality import Origin, quality_of
from iqa.seen import Seen, enlarged, see
from profiles.schema import Profile
from toolbox.card import ExpertCard
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

NEVER_SEEN = frozenset({Task.OLD_PHOTO_RESTORATION})
"""What the embedded quality score was never shown: its opinion does not count there, experience alone does."""
NO_OPINION = 0.5
COSTS = {"classical": 1, "spandrel": 2, "onnx": 2, "diffusion": 3}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One expert's result with its verdict; no image where the expert failed or was only scouted."""

    verdict: Verdict
    image: Image | None = None
    faces: FaceWork | None = None
    seen: Seen | None = None
    """What the judge saw of the image."""


@dataclass(slots=True)
class Contest:
    """The candidates of one step as they come; holds the images of those alone that may still win."""

    ahead: list[Candidate] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def enter(self, candidate: Candidate) -> None:
        """Take part; a candidate without an image cannot win."""
        if candidate.image is None:
            return
        self.scores.append(candidate.verdict.score)
        least = max(self.scores) - own_error()
        self.ahead = [one for one in [*self.ahead, candidate] if one.verdict.score >= least]

    def let_go(self) -> None:
        """Drop the images: the choice has been made."""
        self.ahead.clear()

    @property
    def winner(self) -> Candidate | None:
        """The best score; where others lie within the judge's error of it, the most faithful, then the cheapest."""
        return max(self.ahead, key=lambda one: _merit(one.verdict), default=None)

    @property
    def lead(self) -> float | None:
        """By how much the best score is ahead of the second; None without a second."""
        first, *others = sorted(self.scores, reverse=True) or [0.0]
        return first - others[0] if others else None


def _merit(verdict: Verdict) -> tuple[float, int, float]:
    return (round(verdict.consistency, 2), -verdict.cost, verdict.score)


def select_best(judged: Iterable[Candidate]) -> Candidate | None:
    """The winner among candidates; None where no expert gave an image."""
    contest = Contest()
    for candidate in judged:
        contest.enter(candidate)
    return contest.winner


class Judge:
    """Gives verdicts on what experts made of one image in one step, all looked at in the same crops."""

    def __init__(
        self,
        before: Image,
        step: Step,
        profile: Profile,
        pool: ExpertPool,
        clock: Clock,
        description: str = "",
        seen: Seen | None = None,
    ) -> None:
        """`seen`: what has been seen of `before` already; its crops are then those of the candidates too."""
        self._before = before
        self._step = step
        self._fidelity_weight = profile.fidelity_weight
        self._least_consistency = profile.least_consistency
        self._pool = pool
        self._clock = clock
        self._description = description
        self._metrics = chosen(profile.reflection, profile.non_commercial, pool.store)
        with clock.part("scoring"):
            self._seen = seen or see(before)
            self._origin = origin_of(step.task, self._seen, enlarged(self._seen, before, step.scale))

    @property
    def crops(self) -> tuple[Box, ...]:
        """Where it looks, the most active place first."""
        return self._seen.crops

    def of_input(self) -> Candidate:
        """Doing nothing."""
        with self._clock.part("scoring"):
            values = self._published(self._before)
            verdict = verdict_on(KEEP_INPUT, self._seen, self._origin, 1.0, self._fidelity_weight, values)
        return Candidate(verdict, self._before, seen=self._seen)

    def of(self, card: ExpertCard, result: Image, seconds: float) -> Candidate:
        """An expert's result."""
        cost = {"expert": card.name, "cost": COSTS[card.loader], "seconds": seconds}
        if _same(result, self._before):
            # Experience with an expert is with what it changes.
            return Candidate(self.of_input().verdict.model_copy(update=cost), result, seen=self._seen)
        with self._clock.part("scoring"):
            seen = see(result, self._seen.crops)
            faithful = consistency(self._step.task, self._before, result)
            values = self._published(result)
            verdict = verdict_on(card.name, seen, self._origin, faithful, self._fidelity_weight, values)
        verdict = verdict.model_copy(update=cost)
        if faithful < self._least_consistency:
            told = f"consistency {faithful:.2f} is below the profile's {self._least_consistency:.2f}"
            return Candidate(verdict.model_copy(update={"score": 0.0, "error": told}))
        return Candidate(verdict, result, seen=seen)

    def _published(self, image: Image) -> dict[str, float]:
        measured = measure_published(self._metrics, [image], self._pool, self._pool.store, self._description)
        return {name: values[0] for name, values in measured.items()}


def _same(one: Image, other: Image) -> bool:
    """Whether two images show the same to the pixel."""
    import torch

    first, second = one.pixels, other.pixels
    if first.shape != second.shape:
        return False
    return all(torch.equal(first[:, rows], second[:, rows]) for rows in strips(first, second))


def verdict_on(
    expert: str,
    seen: Seen,
    origin: Origin,
    faithful: float,
    fidelity_weight: float,
    published: Mapping[str, float] | None = None,
) -> Verdict:
    """The verdict on a result that has been looked at, and whose consistency is known."""
    measured = quality_of(seen, origin, published)
    known = _trust(origin, expert, faithful)
    opinion = NO_OPINION if origin.task in NEVER_SEEN and not published else measured.score
    merit = Merit(origin.task, opinion, removal(origin, seen), faithful, known)
    return Verdict(
        expert=expert,
        score=score(merit, fidelity_weight),
        quality=measured.score,
        consistency=faithful,
        removal=merit.removal,
        experience=known,
        metrics=dict(measured.parts),
    )


def experience(task: Task, expert: str, beside: float = 0.0) -> float:
    """How much nearer to the truth than its rivals an expert came on synthesised degradations; 0 where unknown.

    `beside`: of the step's `Origin`.
    """
    return known_of(_experience(), task, beside).get(expert, 0.0)


def promise(task: Task, expert: str) -> float:
    """The best that experience says of an expert in any situation."""
    return max(experience(task, expert), experience(task, expert, UNCLEAN_LEVEL))


def _trust(origin: Origin, expert: str, faithful: float) -> float:
    """Experience with an expert; one that nothing is known of is half as good as the best, where it is faithful.

    What it cannot explain it must be expected to have made up, and then doing nothing is the better expert.
    """
    task, beside = origin.task, origin.beside
    if is_known(task, expert):
        return experience(task, expert, beside)
    best = max(known_of(_experience(), task, beside).values(), default=0.0)
    return faithful * best / 2 + (1 - faithful) * experience(task, KEEP_INPUT, beside)


def is_known(task: Task, expert: str) -> bool:
    """Whether there is any experience with an expert."""
    return expert in known_of(_experience(), task)


@cache
def _experience() -> dict[str, dict[str, float]]:
    files = (resources.files("agent") / name for name in ("experience.toml", "old_photo_experience.toml"))
    tables = [tomllib.loads(file.read_text("utf-8")) for file in files]
    return {task: experts for table in tables for task, experts in table.items()}
