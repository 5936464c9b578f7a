"""One step for a caller that plans by itself: the agent's Q-MoE, with images that come and go by handle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from agent.face_step import run_face_step
from agent.finishing import finish
from agent.judging import Candidate, Selection, select_best
from agent.qmoe import candidates, is_allowed, run_candidates, shortlist
from agent.state import KEEP_INPUT, Plan, Step, Verdict
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
from toolbox.tasks import Task

SAME_SHAPE = 0.02
"""By how much the aspect of one picture in two sizes may differ."""


@dataclass(frozen=True, slots=True)
class StepResult:
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
) -> StepResult:
    """Do one step and save its result as `name`. Where the caller names an expert, its result is taken as it is.

    `original`: what faces are compared with. Raises `RequestError` where it shows another cutting.
    """
    service.require_room(source.image.width * step.scale, source.image.height * step.scale)
    if expert:
        expert = service.catalogue.card(expert).name
        profile = profile.model_copy(update={"experts": (expert,)})
    asked = choose_cards(service, step, profile, [expert] if expert else None)
    features = extract_features(source.image, models=service.experts)
    cards = shortlist(asked, profile, source.image, features)
    selection, verdicts = Selection(), list[Verdict]()
    run = partial(run_candidates, features=features)
    if step.task is Task.FACE_RESTORATION:
        run = partial(run_face_step, original=_of_the_same_shape(original, source.image))
    for candidate in run(source.image, step, cards, profile, service.experts, token=token):
        verdicts.append(candidate.verdict)
        status.news(describe(candidate.verdict))
        if not expert or candidate.verdict.expert == expert or candidate.faces:
            selection.add(candidate)
    best = selection.winner
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
    service.require_room(source.image.width * step.scale, source.image.height * step.scale)
    cards = choose_cards(service, step, profile, experts)
    found: list[tuple[CandidateReport, Image | None]] = []
    run = run_face_step if step.task is Task.FACE_RESTORATION else run_candidates
    for candidate in run(source.image, step, cards, profile, service.experts, token=token):
        status.news(describe(candidate.verdict))
        handle = None
        if candidate.image is not None:
            origin = CandidateOf(parent=source.picture.handle, step=step, verdict=candidate.verdict)
            handle = service.workspace.keep_image(candidate.image, origin, source.name)
        found.append((CandidateReport(handle=handle, verdict=candidate.verdict), candidate.image))
    found.sort(key=lambda item: (item[1] is not None, item[0].verdict.score), reverse=True)
    report = CandidatesReport(
        image=source.picture, task=step.task, scale=step.scale, candidates=[candidate for candidate, _ in found]
    )
    verdicts = ((candidate.verdict, image) for candidate, image in found)
    shown = tuple((verdict.expert, verdict.score, image) for verdict, image in verdicts if image is not None)
    return JudgedCandidates(report, source.image, shown)


def select_candidate(service: Service, handles: Sequence[str], choice: str | None) -> StepResult:
    """The best of candidates of one step, or `choice` among them, finished as the agent finishes a step.

    Raises `RequestError` where the handles are not candidates of one and the same step.
    """
    candidates_by_handle = {handle: _candidate(service, handle) for handle in handles}
    parents = {(candidate.parent, candidate.step) for candidate in candidates_by_handle.values()}
    if len(parents) > 1:
        raise RequestError(
            "these are candidates of different steps or images", "give handles from one run_candidates result"
        )
    if choice is not None and choice not in candidates_by_handle:
        raise RequestError(f"the choice {choice} is not among the candidates", "choose one of the given handles")
    limits = service.settings.limits()
    asked = [choice] if choice else handles
    best = select_best(
        Candidate(candidates_by_handle[handle].verdict, service.workspace.load(handle, limits)) for handle in asked
    )
    if best is None:
        raise RequestError("there is no candidate to choose from", "give at least one handle")
    parent, step = parents.pop()
    source = service.open(InputImage(handle=parent))
    verdicts = [candidate.verdict for candidate in candidates_by_handle.values()]
    return _finish_step(service, source, step, best, verdicts, f"{source.name}_{step.task.value}")


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


def choose_cards(
    service: Service, step: Step, profile: Profile, experts: Sequence[str] | None
) -> tuple[ExpertCard, ...]:
    """The named experts, or all that the profile allows; `RequestError` where there are none or they do not fit."""
    if not experts:
        cards = candidates(step, profile, service.experts)
        if not cards:
            raise RequestError(f"no expert for {step} is installed", "list_experts shows what there is")
        return cards
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
) -> StepResult:
    winner = best.verdict
    before = next((verdict.score for verdict in verdicts if verdict.expert == KEEP_INPUT), -1.0)
    picture, file, image = source.picture, None, source.image
    if winner.expert == KEEP_INPUT or best.image is None:
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
    return StepResult(report, image)
