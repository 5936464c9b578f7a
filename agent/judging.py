"""Verdicts on the candidates of a step, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.state import KEEP_INPUT, FaceWork, Step, Verdict
from agent.timer import Timer
from imaging.image import Image
from imaging.pixels import row_chunks
from iqa.candidate_score import CandidateScore, origin_of, own_error, removal, score
from iqa.consistency import consistency
from iqa.crops import Box
from iqa.expert_priors import expert_prior, expert_priors, has_prior, priors_for
from iqa.features import ImageFeatures, enlarged, extract_features
from iqa.published import chosen, measure_published
from iqa.quality import Origin, quality_of
from profiles.schema import Profile
from toolbox.card import ExpertCard
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

NEVER_SEEN = frozenset({Task.OLD_PHOTO_RESTORATION})
"""What the embedded quality score was never shown: its opinion does not count there, the expert prior alone does."""
NO_OPINION = 0.5
COSTS = {"classical": 1, "spandrel": 2, "onnx": 2, "diffusion": 3}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One expert's result with its verdict; no image where the expert failed or was only prescreened."""

    verdict: Verdict
    image: Image | None = None
    faces: FaceWork | None = None
    features: ImageFeatures | None = None
    """What the judge saw of the image."""


@dataclass(slots=True)
class Selection:
    """The candidates of one step as they come; holds the images of those alone that may still win."""

    tied: list[Candidate] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, candidate: Candidate) -> None:
        """Take part; a candidate without an image cannot win."""
        if candidate.image is None:
            return
        self.scores.append(candidate.verdict.score)
        least = max(self.scores) - own_error()
        self.tied = [one for one in [*self.tied, candidate] if one.verdict.score >= least]

    def clear(self) -> None:
        """Drop the images: the choice has been made."""
        self.tied.clear()

    @property
    def winner(self) -> Candidate | None:
        """The best score; where others lie within the judge's error of it, the most faithful, then the cheapest."""
        return max(self.tied, key=lambda one: _rank(one.verdict), default=None)

    @property
    def margin(self) -> float | None:
        """By how much the best score is ahead of the second; None without a second."""
        first, *others = sorted(self.scores, reverse=True) or [0.0]
        return first - others[0] if others else None


def _rank(verdict: Verdict) -> tuple[float, int, float]:
    return (round(verdict.consistency, 2), -verdict.cost, verdict.score)


def select_best(judged: Iterable[Candidate]) -> Candidate | None:
    """The winner among candidates; None where no expert gave an image."""
    selection = Selection()
    for candidate in judged:
        selection.add(candidate)
    return selection.winner


class Judge:
    """Gives verdicts on what experts made of one image in one step, all looked at in the same crops."""

    def __init__(
        self,
        before: Image,
        step: Step,
        profile: Profile,
        pool: ExpertPool,
        timer: Timer,
        description: str = "",
        features: ImageFeatures | None = None,
    ) -> None:
        """`features`: what has been seen of `before` already; its crops are then those of the candidates too."""
        self._before = before
        self._step = step
        self._fidelity_weight = profile.fidelity_weight
        self._least_consistency = profile.least_consistency
        self._pool = pool
        self._timer = timer
        self._description = description
        self._metrics = chosen(profile.reflection, profile.non_commercial, pool.store)
        with timer.section("scoring"):
            self._features = features or extract_features(before, models=pool)
            self._origin = origin_of(step.task, self._features, enlarged(self._features, before, step.scale))

    @property
    def crops(self) -> tuple[Box, ...]:
        """Where it looks, the most active place first."""
        return self._features.crops

    def evaluate_input(self) -> Candidate:
        """Doing nothing."""
        with self._timer.section("scoring"):
            values = self._published(self._before)
            verdict = verdict_on(KEEP_INPUT, self._features, self._origin, 1.0, self._fidelity_weight, values)
        return Candidate(verdict, self._before, features=self._features)

    def evaluate(self, card: ExpertCard, result: Image, seconds: float) -> Candidate:
        """An expert's result."""
        cost = {"expert": card.name, "cost": COSTS[card.loader], "seconds": seconds}
        if _same(result, self._before):
            # A prior of an expert is of what it changes.
            return Candidate(self.evaluate_input().verdict.model_copy(update=cost), result, features=self._features)
        with self._timer.section("scoring"):
            features = extract_features(result, self._features.crops, self._pool)
            faithful = consistency(self._step.task, self._before, result)
            values = self._published(result)
            verdict = verdict_on(card.name, features, self._origin, faithful, self._fidelity_weight, values)
        verdict = verdict.model_copy(update=cost)
        if faithful < self._least_consistency:
            message = f"consistency {faithful:.2f} is below the profile's {self._least_consistency:.2f}"
            return Candidate(verdict.model_copy(update={"score": 0.0, "error": message}))
        return Candidate(verdict, result, features=features)

    def _published(self, image: Image) -> dict[str, float]:
        measured = measure_published(self._metrics, [image], self._pool, self._pool.store, self._description)
        return {name: values[0] for name, values in measured.items()}


def _same(one: Image, other: Image) -> bool:
    """Whether two images show the same to the pixel."""
    import torch

    first, second = one.pixels, other.pixels
    if first.shape != second.shape:
        return False
    return all(torch.equal(first[:, rows], second[:, rows]) for rows in row_chunks(first, second))


def verdict_on(
    expert: str,
    features: ImageFeatures,
    origin: Origin,
    faithful: float,
    fidelity_weight: float,
    published: Mapping[str, float] | None = None,
) -> Verdict:
    """The verdict on a result that has been looked at, and whose consistency is known."""
    measured = quality_of(features, origin, published)
    known = _prior_of(origin, expert, faithful)
    opinion = NO_OPINION if origin.task in NEVER_SEEN and not published else measured.score
    candidate_score = CandidateScore(origin.task, opinion, removal(origin, features), faithful, known)
    return Verdict(
        expert=expert,
        score=score(candidate_score, fidelity_weight),
        quality=measured.score,
        consistency=faithful,
        removal=candidate_score.removal,
        expert_prior=known,
        metrics=dict(measured.parts),
    )


def _prior_of(origin: Origin, expert: str, faithful: float) -> float:
    """The prior of an expert. Without one, half the best prior, weighted by consistency against that of keeping the
    input: content that the input does not explain is likely to be invented.
    """
    task, co_degradation_severity = origin.task, origin.co_degradation_severity
    if has_prior(task, expert):
        return expert_prior(task, expert, co_degradation_severity)
    best = max(priors_for(expert_priors(), task, co_degradation_severity).values(), default=0.0)
    return faithful * best / 2 + (1 - faithful) * expert_prior(task, KEEP_INPUT, co_degradation_severity)
