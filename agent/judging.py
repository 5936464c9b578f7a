"""Verdicts on the candidates of a step, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.state import KEEP_INPUT, FaceWork, Verdict
from agent.step_context import StepContext
from imaging.image import Image
from imaging.pixels import row_chunks
from iqa.candidate_score import CandidateScore, origin_of, own_error, removal, score
from iqa.consistency import consistency
from iqa.expected_gain import ExpectedGain, expected_gains, prior_by_gain
from iqa.expert_priors import expert_prior, expert_priors, has_prior, priors_for
from iqa.features import ImageFeatures, enlarged, extract_features
from iqa.published import chosen, measure_published
from iqa.quality import Origin, quality_of
from toolbox.card import ExpertCard

NO_OPINION = 0.5
COSTS = {"classical": 1, "spandrel": 2, "onnx": 2, "diffusion": 3}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One expert's result with its verdict; no image where the expert failed or was only prescreened."""

    verdict: Verdict
    image: Image | None = None
    faces: FaceWork | None = None
    features: ImageFeatures | None = None
    """Of the image, as the judge extracted them."""


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

    @property
    def winner(self) -> Candidate | None:
        """The best score; where others lie within the judge's error of it, the most faithful, then the cheapest."""
        return max(self.tied, key=lambda one: _rank(one.verdict), default=None)

    @property
    def margin(self) -> float | None:
        """By how much the best score is ahead of the second; None without a second."""
        first, *others = sorted(self.scores, reverse=True) or [0.0]
        return first - others[0] if others else None


def best_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """The winner among the verdicts on results that are all there, by the rule of `Selection`."""
    least = max(verdict.score for verdict in verdicts) - own_error()
    return max((verdict for verdict in verdicts if verdict.score >= least), key=_rank)


def _rank(verdict: Verdict) -> tuple[float, int, float]:
    return (round(verdict.consistency, 2), -verdict.cost, verdict.score)


class Judge:
    """Gives verdicts on what experts made of one image in one step, all from features of the same crops."""

    def __init__(self, context: StepContext) -> None:
        self._context = context
        profile, store, before = context.profile, context.experts.store, context.image
        self._metrics = chosen(profile.reflection, profile.non_commercial, store)
        with context.timer.section("scoring"):
            self._gains = expected_gains(context.features, context.step.task)
            as_large = enlarged(context.features, before, context.step.scale)
            self._origin = origin_of(context.step.task, context.features, as_large)

    def evaluate_input(self) -> Candidate:
        """Doing nothing."""
        context = self._context
        with context.timer.section("scoring"):
            verdict = self._verdict(KEEP_INPUT, context.image, context.features, 1.0)
        return Candidate(verdict, context.image, features=context.features)

    def evaluate(self, card: ExpertCard, result: Image, seconds: float) -> Candidate:
        """An expert's result."""
        context = self._context
        cost = {"expert": card.name, "cost": COSTS[card.loader], "seconds": seconds}
        if _same(result, context.image):
            # A prior of an expert is of what it changes.
            unchanged = self.evaluate_input()
            return replace(unchanged, verdict=unchanged.verdict.model_copy(update=cost), image=result)
        with context.timer.section("scoring"):
            features = extract_features(result, context.features.crops, context.experts)
            faithful = consistency(context.step.task, context.image, result)
            verdict = self._verdict(card.name, result, features, faithful).model_copy(update=cost)
        if faithful < context.profile.least_consistency:
            message = f"consistency {faithful:.2f} is below the profile's {context.profile.least_consistency:.2f}"
            return Candidate(verdict.model_copy(update={"score": 0.0, "error": message}))
        return Candidate(verdict, result, features=features)

    def _verdict(self, expert: str, image: Image, features: ImageFeatures, faithful: float) -> Verdict:
        pool, description = self._context.experts, self._context.description
        measured = measure_published(self._metrics, [image], pool, pool.store, description)
        published = {name: values[0] for name, values in measured.items()}
        weight = self._context.profile.fidelity_weight
        return verdict_on(expert, features, self._origin, faithful, weight, published, self._gains)


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
    gains: Mapping[str, ExpectedGain] | None = None,
) -> Verdict:
    """The verdict on a result that has been looked at, and whose consistency is known.

    `gains`: what the experts of the task are expected to gain on the input; without them the priors count.
    """
    measured = quality_of(features, origin, published)
    known = _prior_of(origin, expert, faithful, gains or {})
    opinion = measured.score if published or origin.task.spec.has_quality_score else NO_OPINION
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


def _prior_of(origin: Origin, expert: str, faithful: float, gains: Mapping[str, ExpectedGain]) -> float:
    """The gain that is expected of an expert, or else its prior.

    Without either, half the best prior, weighted by consistency against that of keeping the input: content that the
    input does not explain is likely to be invented.
    """
    if gains:
        return 0.0 if expert == KEEP_INPUT else prior_by_gain(gains, expert, faithful)
    task, co_degradation_severity = origin.task, origin.co_degradation_severity
    if has_prior(task, expert):
        return expert_prior(task, expert, co_degradation_severity)
    best = max(priors_for(expert_priors(), task, co_degradation_severity).values(), default=0.0)
    return faithful * best / 2 + (1 - faithful) * expert_prior(task, KEEP_INPUT, co_degradation_severity)
