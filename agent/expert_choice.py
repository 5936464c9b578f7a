"""The experts of a step: those that may run, the shortlist by expected gain and priors, stand-ins."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agent.state import Step, expert_of
from agent.step_context import StepContext
from agent.worth import ranking_gains
from imaging.device import best_device, device_memory, teraflops
from imaging.image import Image
from iqa.candidate_score import origin_of
from iqa.degradations import estimates_from
from iqa.expected_gain import shortlist_by_gain
from iqa.expert_priors import best_prior, expert_prior, has_prior, shortlist_by_prior
from iqa.features import ImageFeatures
from profiles.schema import Profile
from toolbox.availability import availability
from toolbox.card import ExpertCard, SpandrelCard
from toolbox.faces.models import face_models
from toolbox.pool import ExpertPool
from toolbox.starter import missing_starters
from toolbox.tasks import Degradation, Severity, Task

LEAST_BYTES = {"S": 0, "M": 1 << 30, "L": 4 << 30, "XL": 8 << 30}
"""Minimum memory for a tile of an expert, by the memory class of its card."""

COMPRESSION_CONFIDENCE = 0.6
"""Confidence from which compression is found for the choice of an enlarger."""


def candidates(step: Step, profile: Profile, experts: ExpertPool) -> tuple[ExpertCard, ...]:
    """The experts for a step that can run here and that the profile allows, sorted by prior, the best first.

    Filtered by licence and device memory, and by preference unless that leaves none and the profile is not strict. If
    the profile names experts for the step, only those; cards with `named_only` are candidates only then. A stand-in
    replaces its expert where that cannot run; one that generates texture is a candidate beside its expert if the
    profile blends a little of it into faithful results.
    """
    cards = [card for card in experts.runnable(step.task, step.scale) if is_allowed(card, profile)]
    named = set(map(expert_of, profile.experts))
    if chosen := tuple(card for card in cards if card.name in named):
        return chosen
    cards = _with_one_of_each([card for card in cards if not card.named_only], profile)
    cards = [card for card in cards if LEAST_BYTES[card.memory] <= device_memory()]
    cards.sort(key=lambda card: -best_prior(card.task, card.name))
    preferred = [card for card in cards if is_preferred(card, profile)]
    return tuple(preferred if preferred or profile.strict_preference else cards)


def _with_one_of_each(cards: Sequence[ExpertCard], profile: Profile) -> list[ExpertCard]:
    """`cards` without stand-ins whose expert is present; small texture networks stay if their texture is blended."""
    names = {card.name for card in cards}
    both = profile.blended_detail is not None and not profile.favours_texture
    return [card for card in cards if card.stands_in_for not in names or (both and card.preference == "perception")]


def unavailable_experts(steps: Sequence[Step], profile: Profile, experts: ExpertPool) -> tuple[str, ...]:
    """Messages about experts that the profile names but that will not run in these steps."""
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
    """Whether an expert matches a profile's preference; for enlargements its `detail`, if that is set.

    Only networks generate texture that can be blended with a faithful result.
    """
    if card.task is not Task.SUPER_RESOLUTION or profile.detail is None:
        return card.preference in ("any", profile.restore_preference)
    if card.preference == "perception":
        return profile.detail == 1 or (profile.detail > 0 and card.loader != "classical")
    return card.preference == "any" or profile.detail < 1


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
    if not (profile.exhaustive or profile.experts):
        cards = _suited_to_compression(cards, features)
    ranked, best = _ranked(cards, features)
    cards = sorted(cards, key=lambda card: ranked.index(card.name) if card.name in ranked else len(ranked))
    if len(ranked) < 2 or profile.exhaustive:
        return tuple(cards)
    enlarges = cards[0].task is Task.SUPER_RESOLUTION
    prefers_perception = profile.wants_texture if enlarges else profile.restore_preference == "perception"
    perceptual = [card.name for card in cards if card.name in ranked and card.preference == "perception"]
    unwanted = set(ranked) - {*best, *(perceptual[:1] if prefers_perception else ())}
    return tuple(card for card in cards if card.name not in unwanted)


def _suited_to_compression(cards: Sequence[ExpertCard], features: ImageFeatures) -> Sequence[ExpertCard]:
    """Without faithful enlargers for clean pictures, if compression is found in the picture and there is a blind one.

    They turn blocks and ringing into worms. Of 353 small training pictures, compression is found in 139; for 18 of
    them more gain is predicted for `restore4k_sr_x4`, which gains -0.31 dB there, the blind network -0.33.
    """
    if not any(card.blind and card.preference != "perception" for card in cards):
        return cards
    found = estimates_from(features)[Degradation.JPEG_ARTIFACT]
    is_compressed = found.severity >= Severity.MEDIUM and found.confidence >= COMPRESSION_CONFIDENCE
    suited = [card for card in cards if card.blind or card.preference == "perception"]
    return suited if is_compressed else cards


def stand_ins(context: StepContext) -> dict[str, ExpertCard]:
    """The smaller networks for a step that can run here in time, by the name of the expert each stands in for.

    Those that generate texture are left out after the first enlargement: they turn sharp pictures into line patterns.
    """
    step, pixels, limit = context.step, context.image.width * context.image.height, context.expert_seconds
    able = context.experts.runnable(step.task, step.scale)
    return {
        card.stands_in_for: card
        for card in able
        if card.stands_in_for
        and not (context.is_enlarged and card.preference == "perception")
        and (limit is None or seconds_on_cpu(card, pixels) <= limit)
    }


def with_stand_ins(
    context: StepContext, cards: Sequence[ExpertCard], slow: Collection[str] = ()
) -> tuple[ExpertCard, ...]:
    """`cards` with `slow` ones replaced by their stand-ins, and on a CPU after an enlargement the others too.

    Unless slow, experts that the profile names and all experts of an exhaustive profile are not replaced.
    """
    profile = context.profile
    everywhere = context.is_enlarged and best_device().type == "cpu" and not profile.exhaustive
    named, smaller = set(map(expert_of, profile.experts)), stand_ins(context)
    replaced = (
        smaller.get(card.name, card) if card.name in slow or (everywhere and card.name not in named) else card
        for card in cards
    )
    return tuple({card.name: card for card in replaced}.values())


def _ranked(cards: Sequence[ExpertCard], features: ImageFeatures) -> tuple[list[str], list[str]]:
    """The experts with an expected gain on this picture, the best first, then those with only a prior.

    Also the experts among them that may give the best result.
    """
    if not cards:
        return [], []
    task, names = cards[0].task, {card.name for card in cards}
    gains = {name: gain for name, gain in ranking_gains(features, task).items() if name in names}
    severity = origin_of(task, features).co_degradation_severity
    priors = {name: expert_prior(task, name, severity) for name in names if has_prior(task, name)}
    order = sorted(gains, key=lambda name: -gains[name].median_db)
    order += sorted(priors.keys() - gains.keys(), key=lambda name: -priors[name])
    if task is Task.SUPER_RESOLUTION:  # interpolation may be nearest to the original of a noisy picture, but is soft
        networks = {card.name for card in cards if card.loader != "classical"}
        gains = {name: gain for name, gain in gains.items() if name in networks} or gains
    return order, shortlist_by_gain(gains) if gains else shortlist_by_prior(priors)
