"""One step for a caller that plans by itself: the agent's Q-MoE, with images that come and go by handle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.finishing import finish
from agent.judging import Candidate, best_verdict
from agent.qmoe import candidates, is_allowed
from agent.state import KEEP_INPUT, Plan, Step, Verdict
from agent.step import experts_for, run_step
from agent.step_context import StepContext
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.writing import write_image
from iqa.features import extract_features
from profiles.schema import Profile
from server.errors import RequestError
from server.mcp.inputs import InputImage
from server.mcp.jobs import Status
from server.mcp.service import Service, Source
from server.mcp.workspace import CandidateOf
from server.schemas import CandidateReport, CandidatesReport, FinishReport, Picture, StepReport
from toolbox.card import ExpertCard

SAME_SHAPE = 0.02
"""By how much the aspect of one picture in two sizes may differ."""


@dataclass(frozen=True, slots=True)
class StepReply:
    """A finished step, with its image for the thumbnail."""

    report: StepReport
    image: Image


@dataclass(frozen=True, slots=True)
class JudgedCandidates:
    """Candidates to choose from, with what there is to see: the input, and each one's name, score and image."""

    report: CandidatesReport
    before: Image
    shown: tuple[tuple[str, float, Image], ...]


def take_step(
    service: Service,
    source: Source,
    step: Step,
    profile: Profile,
    expert: str | None,
    name: str,
    token: ProgressToken,
    status: Status,
    original: Image | None = None,
) -> StepReply:
    """Do one step and save its result as `name`. Where the caller names an expert, its result is taken as it is.

    `original`: what faces are compared with. Raises `RequestError` where it shows another cutting.
    """
    cards: Sequence[ExpertCard] = ()
    if expert:
        cards = _named_experts(service, step, profile, [expert])
        profile = profile.model_copy(update={"experts": (cards[0].name,)})
    context = _step_context(service, source, step, profile, token, _of_the_same_shape(original, source.image))
    result = run_step(
        context, cards or _some(experts_for(context), step), observe=lambda one: status.news(describe(one.verdict))
    )
    best, verdicts = result.best, result.verdicts
    if best is None:
        raise RequestError(
            f"no expert could do {step}: {'; '.join(verdict.error or '' for verdict in verdicts)}",
            "try another expert or image",
        )
    return _finish_step(service, source, step, best, verdicts, name)


def judge_candidates(
    service: Service,
    source: Source,
    step: Step,
    profile: Profile,
    experts: Sequence[str] | None,
    token: ProgressToken,
    status: Status,
) -> JudgedCandidates:
    """Run a step's experts and keep every result that there is under a handle of its own."""
    if experts:
        cards = _named_experts(service, step, profile, experts)
    else:
        cards = _some(candidates(step, profile, service.experts), step)
    found: list[tuple[CandidateReport, Image | None]] = []

    def keep(candidate: Candidate) -> None:
        status.news(describe(candidate.verdict))
        handle = None
        if candidate.image is not None:
            origin = CandidateOf(parent=source.picture.handle, step=step, verdict=candidate.verdict)
            handle = service.workspace.keep_image(candidate.image, origin, source.name)
        found.append((CandidateReport(handle=handle, verdict=candidate.verdict), candidate.image))

    run_step(_step_context(service, source, step, profile, token), cards, observe=keep)
    found.sort(key=lambda item: (item[1] is not None, item[0].verdict.score), reverse=True)
    report = CandidatesReport(
        image=source.picture, task=step.task, scale=step.scale, candidates=[candidate for candidate, _ in found]
    )
    verdicts = ((candidate.verdict, image) for candidate, image in found)
    shown = tuple((verdict.expert, verdict.score, image) for verdict, image in verdicts if image is not None)
    return JudgedCandidates(report, source.image, shown)


def select_candidate(service: Service, handles: Sequence[str], choice: str | None) -> StepReply:
    """The best of candidates of one step, or `choice` among them, finished as the agent finishes a step.

    Raises `RequestError` where the handles are not candidates of one and the same step.
    """
    found = {handle: _candidate(service, handle) for handle in handles}
    parents = {(candidate.parent, candidate.step) for candidate in found.values()}
    if len(parents) != 1:
        raise RequestError(
            "these are candidates of different steps or images", "give handles from one run_candidates result"
        )
    if choice is not None and choice not in found:
        raise RequestError(f"the choice {choice} is not among the candidates", "choose one of the given handles")
    parent, step = parents.pop()
    verdicts = [candidate.verdict for candidate in found.values()]
    best = found[choice].verdict if choice else best_verdict(verdicts)
    handle = next(handle for handle, candidate in found.items() if candidate.verdict is best)
    winner = Candidate(best, service.workspace.load(handle, service.settings.limits()))
    source = service.open(InputImage(handle=parent))
    return _finish_step(service, source, step, winner, verdicts, f"{source.name}_{step.task.value}")


def finish_image(
    service: Service, source: Source, width: int, height: int, suffix: str
) -> tuple[FinishReport, Image]:
    """Bring an image to its final size as a run does, and save it."""
    most = service.settings.max_pixels
    if width * height > most:
        raise RequestError(f"{width}x{height} is more than {most} pixels", "choose a smaller size")
    image = finish(source.image, Plan(steps=(), final_width=width, final_height=height, by="caller"))
    file = service.new_output(f"{source.name}_restored", suffix)
    write_image(image, file)
    handle = service.workspace.keep_file(file.read_bytes(), source.name)
    picture = Picture(handle=handle, width=width, height=height)
    return FinishReport(
        summary=f"Finished at {width}x{height}; saved as {file}.", image=picture, file=str(file)
    ), image


def _step_context(
    service: Service,
    source: Source,
    step: Step,
    profile: Profile,
    token: ProgressToken,
    original: Image | None = None,
) -> StepContext:
    """What the agent runs a step with; raises where there is no room for its result."""
    service.require_room(source.image.width * step.scale, source.image.height * step.scale)
    features = extract_features(source.image, models=service.experts)
    return StepContext(source.image, step, profile, service.experts, features, token, original=original)


def _some(cards: tuple[ExpertCard, ...], step: Step) -> tuple[ExpertCard, ...]:
    """Raise `RequestError` where no expert can do a step."""
    if not cards:
        raise RequestError(f"no expert for {step} is installed", "list_experts shows what there is")
    return cards


def _named_experts(service: Service, step: Step, profile: Profile, experts: Sequence[str]) -> tuple[ExpertCard, ...]:
    """The cards of experts; `RequestError` where one does another step, or the profile does not allow it."""
    named = tuple(service.catalogue.card(name) for name in experts)
    for card in named:
        if (card.task, card.scale) != (step.task, step.scale):
            fitting = ", ".join(other.name for other in service.experts.runnable(step.task, step.scale))
            raise RequestError(
                f"expert {card.name} does {card.task.value} {card.scale}x, not {step}",
                f"choose one of: {fitting or 'none is installed'}",
            )
        if not is_allowed(card, profile):
            raise RequestError(
                f"the licence of expert {card.name} forbids commercial use, and profile {profile.name} allows none",
                "choose another expert, or a profile with non_commercial = true",
            )
    return named


def describe(verdict: Verdict) -> str:
    """A candidate's verdict in one line."""
    if verdict.error:
        return f"{verdict.expert}: {verdict.error}"
    prescreened = " on crops" if verdict.stage == "prescreen" else ""
    return (
        f"{verdict.expert}: {verdict.score:.3f}{prescreened} (quality {verdict.quality:.3f}, consistency "
        f"{verdict.consistency:.3f}, removal {verdict.removal:.3f})"
    )


def _of_the_same_shape(original: Image | None, image: Image) -> Image | None:
    if original and abs(original.width * image.height / (original.height * image.width) - 1) > SAME_SHAPE:
        raise RequestError(
            f"the original ({original.width}x{original.height}) is not the whole of the image "
            f"({image.width}x{image.height})",
            "give the same photo, uncut, in any size",
        )
    return original


def _candidate(service: Service, handle: str) -> CandidateOf:
    candidate = service.workspace.candidate(handle)
    if candidate is None:
        raise RequestError(f"{handle} is not a candidate", "give handles from a run_candidates result")
    return candidate


def _finish_step(
    service: Service, source: Source, step: Step, best: Candidate, verdicts: Sequence[Verdict], name: str
) -> StepReply:
    """Save the best result as `name`, unless it is the input, and say what it is."""
    winner, image, picture, file = best.verdict, source.image, source.picture, None
    before = next((verdict.score for verdict in verdicts if verdict.expert == KEEP_INPUT), -1.0)
    if best.image is None or winner.expert == KEEP_INPUT:
        what = "no expert makes this image better"
        if best.faces and not best.faces.faces:
            what = "no face was found"
        elif any(verdict.score > winner.score for verdict in verdicts):
            what = "this was chosen, though others score better"
        summary = f"{step}: {what}; the input is kept, and nothing was written."
    else:
        image = best.image
        handle = service.workspace.keep_image(image, name=source.name)
        picture = Picture(handle=handle, width=image.width, height=image.height)
        file = service.save(image, name)
        summary = f"{step} by {describe(winner)}; saved as {file}."
        if winner.score <= before:
            summary += " By Q-MoE's measure the input is better than this result."
    report = StepReport(
        summary=summary,
        image=picture,
        file=file,
        expert=winner.expert,
        improved=winner.expert != KEEP_INPUT and winner.score > before,
        verdicts=sorted(verdicts, key=lambda verdict: verdict.score, reverse=True),
        faces=best.faces,
    )
    return StepReply(report, image)
