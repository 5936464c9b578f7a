"""Verdicts on the candidates of a step, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.state import HALF_CLEANED, KEEP_INPUT, UNTOUCHED, FaceWork, Verdict
from agent.step_context import StepContext
from agent.worth import ranking_gains
from imaging.image import Image
from imaging.pixels import row_chunks
from iqa.candidate_score import CandidateScore, origin_of, own_error, removal, score
from iqa.consistency import consistency
from iqa.degradations import estimates_from
from iqa.expected_gain import ExpectedGain, prior_by_gain, prior_of_no_gain
from iqa.expert_priors import expert_prior, expert_priors, has_prior, priors_for
from iqa.features import ImageFeatures, enlarged, extract_features
from iqa.patches import fine_detail
from iqa.published import chosen, measure_published
from iqa.quality import Origin, quality_of
from toolbox.card import ExpertCard
from toolbox.tasks import Degradation, Task

NO_OPINION = 0.5
EXPLAINED = 0.8
"""Minimum consistency of a motion deblurring result for which no gain is clearly expected.

Of 17 results that lost more than 0.25 dB on 22 photographs of the training camera, 15 are below it, and one of the
other two scores below its input. On 24 synthetic mixtures, results above it gained -0.2 to 16.8 dB; half of those
that gained 1.5 dB or more are below it and rejected, too.
"""
MOST_NOISE = 1.0
"""Noise level of an enlargement from which its fine detail is ignored. Real-ESRGAN's enlargements of 40 noisy or
finely textured pieces of training photos had 0.43 or less.
"""
LEAST_DETAIL, VISIBLE_DETAIL, SMEARED_PATCHES = 0.5, 2 / 255, 3
"""An enlargement is smeared, because cleaning removed texture, if at least 3 of its nine patches have less than half
of the fine detail of the same network's result on a less cleaned picture; only visible detail counts (above 2/255).

On 40 pieces of training photos with fine texture, noise or both, these rules find nine in which cleaning removed fur,
sand or hay that the enlargement of the uncleaned picture keeps. More detail after cleaning proves nothing: a denoiser
may have left it along edges.
"""
COSTS = {"classical": 1, "spandrel": 2, "ncnn": 2, "onnx": 2, "diffusion": 3}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One expert's result with its verdict; no image if the expert failed or was only prescreened."""

    verdict: Verdict
    image: Image | None = None
    faces: FaceWork | None = None
    features: ImageFeatures | None = None
    """Features of the image."""


@dataclass(slots=True)
class Selection:
    """Selects the best candidate of a step; holds only the images of those that can still win."""

    compares_detail: bool = False
    """Whether to reject candidates that lack fine detail of the same expert's results on less cleaned inputs."""
    tied: list[Candidate] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    details: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Fine detail of the patches of each noise-free candidate, by its name; only if it is compared."""

    def add(self, candidate: Candidate) -> None:
        """Add a candidate; one without an image cannot win."""
        if candidate.image is None:
            return
        self.scores.append(candidate.verdict.score)
        if self.compares_detail and candidate.features is not None and not _is_noisy(candidate.features):
            self.details[candidate.verdict.expert] = fine_detail(candidate.features.patches)
        able = [one for one in [*self.tied, candidate] if one.verdict.expert not in self.smeared]
        least = max(one.verdict.score for one in able) - own_error()
        self.tied = [one for one in able if one.verdict.score >= least]

    @property
    def smeared(self) -> set[str]:
        """The names of candidates with too little detail."""
        return {
            name
            for name, detail in self.details.items()
            for other, more in self.details.items()
            if other in _on_less_cleaned(name) and _is_smeared(detail, more)
        }

    @property
    def winner(self) -> Candidate | None:
        """The best score; among ties (within the judge's error) the most consistent, then the cheapest."""
        return max(self.tied, key=lambda one: _rank(one.verdict), default=None)

    @property
    def margin(self) -> float | None:
        """Difference between the best and the second-best score; None with one candidate."""
        first, *others = sorted(self.scores, reverse=True) or [0.0]
        return first - others[0] if others else None


def _is_noisy(features: ImageFeatures) -> bool:
    """Whether the fine detail of a picture may be noise."""
    return estimates_from(features)[Degradation.NOISE].level >= MOST_NOISE


def _is_smeared(detail: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the first result has much less fine detail than the other in several patches, and less in total."""
    lost = sum(own < LEAST_DETAIL * more for own, more in zip(detail, other, strict=True) if more > VISIBLE_DETAIL)
    return lost >= SMEARED_PATCHES and sum(detail) < sum(other)


def _on_less_cleaned(name: str) -> tuple[str, ...]:
    """The names of the candidates of the same expert on less cleaned inputs."""
    if name.endswith(UNTOUCHED):
        return ()
    expert = name.removesuffix(HALF_CLEANED)
    return (f"{expert}{UNTOUCHED}",) if name != expert else (f"{expert}{UNTOUCHED}", f"{expert}{HALF_CLEANED}")


def best_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """The winner among verdicts, by the rule of `Selection`."""
    least = max(verdict.score for verdict in verdicts) - own_error()
    return max((verdict for verdict in verdicts if verdict.score >= least), key=_rank)


def _rank(verdict: Verdict) -> tuple[float, int, float]:
    return (round(verdict.consistency, 2), -verdict.cost, verdict.score)


class Judge:
    """Evaluates the results of experts in one step, all by features of the same crops.

    `gains`: expected gains of the task's experts, by default those on the context's image.
    """

    def __init__(self, context: StepContext, gains: Mapping[str, ExpectedGain] | None = None) -> None:
        self._context = context
        profile, store, before = context.profile, context.experts.store, context.image
        self._metrics = chosen(profile.reflection, profile.non_commercial, store)
        with context.timer.section("scoring"):
            self._gains = ranking_gains(context.features, context.step.task) if gains is None else gains
            as_large = enlarged(context.features, before, context.step.scale)
            self._origin = origin_of(context.step.task, context.features, as_large)

    def evaluate_input(self) -> Candidate:
        """The verdict on keeping the input."""
        context = self._context
        with context.timer.section("scoring"):
            verdict = self._verdict(KEEP_INPUT, context.image, context.features, 1.0)
        return Candidate(verdict, context.image, features=context.features)

    def evaluate(self, card: ExpertCard, result: Image, seconds: float, name: str = "") -> Candidate:
        """The verdict on an expert's result. `name`: that of the candidate, if it is not the expert's."""
        context, known_as = self._context, card.stands_in_for or card.name
        cost = {"expert": name or card.name, "cost": COSTS[card.loader], "seconds": seconds}
        if _same(result, context.image):
            # An expert's prior describes its changes; here it changed nothing.
            unchanged = self.evaluate_input()
            return replace(unchanged, verdict=unchanged.verdict.model_copy(update=cost), image=result)
        with context.timer.section("scoring"):
            features = extract_features(result, context.features.crops, context.experts)
            faithful = consistency(context.step.task, context.image, result)
            verdict = self._verdict(known_as, result, features, faithful).model_copy(update=cost)
        least = self._least_consistency(known_as)
        if faithful < least:
            message = f"consistency {faithful:.2f} is below {least:.2f}"
            return Candidate(verdict.model_copy(update={"score": 0.0, "error": message}))
        return Candidate(verdict, result, features=features)

    def _least_consistency(self, expert: str) -> float:
        """The profile's minimum; at least `EXPLAINED` where motion deblurring is tried without a clear expected gain.

        A wrong kernel does not explain the input.
        """
        context, least = self._context, self._context.profile.least_consistency
        is_tried = context.step.task is Task.MOTION_DEBLURRING and not context.is_requested
        if is_tried and expert in self._gains and not self._gains[expert].is_clear:
            return max(least, EXPLAINED)
        return least

    def _verdict(self, expert: str, image: Image, features: ImageFeatures, faithful: float) -> Verdict:
        pool, description = self._context.experts, self._context.description
        published = measure_published(self._metrics, image, pool, pool.store, description)
        weight = self._context.profile.fidelity_weight
        return verdict_on(expert, features, self._origin, faithful, weight, published, self._gains)


def _same(one: Image, other: Image) -> bool:
    """Whether two images have equal pixels."""
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
    """The verdict on a result, from its features and its consistency with the input (`faithful`).

    `gains`: the expected gains of the task's experts on the input; without them the priors are used.
    """
    is_known = expert == KEEP_INPUT or expert in (gains or {}) or has_prior(origin.task, expert)
    with_niqe = origin.task.spec.niqe_ranks or not is_known
    measured = quality_of(features, origin, published, with_niqe=with_niqe)
    known = _prior_of(origin, expert, faithful, gains or {})
    opinion = measured.score if published or origin.task.spec.has_quality_score else NO_OPINION
    removed = removal(origin, features)
    return Verdict(
        expert=expert,
        score=score(CandidateScore(origin.task, opinion, removed, faithful, known), fidelity_weight),
        quality=measured.score,
        consistency=faithful,
        expert_prior=known,
        metrics=dict(measured.parts),
    )


def _prior_of(origin: Origin, expert: str, faithful: float, gains: Mapping[str, ExpectedGain]) -> float:
    """The expected gain of an expert, otherwise its prior.

    Without either, half of the best prior, weighted by consistency against the prior of keeping the input: content
    that the input does not explain is probably invented.
    """
    if gains:
        return prior_of_no_gain(gains) if expert == KEEP_INPUT else prior_by_gain(gains, expert, faithful)
    task, co_degradation_severity = origin.task, origin.co_degradation_severity
    if has_prior(task, expert):
        return expert_prior(task, expert, co_degradation_severity)
    best = max(priors_for(expert_priors(), task, co_degradation_severity).values(), default=0.0)
    return faithful * best / 2 + (1 - faithful) * expert_prior(task, KEEP_INPUT, co_degradation_severity)
