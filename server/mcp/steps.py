"""Single steps for callers that plan by themselves: the agent's Q-MoE on images of the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.expert_choice import candidates, is_allowed
from agent.finishing import blend, finish
from agent.judging import Candidate, best_verdict
from agent.regions import have_same_shape, require_same_shape
from agent.search.next_step import context_of
from agent.state import KEEP_INPUT, Plan, Step, Verdict, expert_of
from agent.step import StepResult, experts_for, run_step
from agent.step_context import StepContext
from imaging.image import Image
from imaging.limits import MIN_SIDE
from imaging.progress import ProgressToken
from imaging.resizing import resize
from profiles.schema import Profile
from server.errors import RequestError
from server.mcp import inputs
from server.mcp.guides import Guide, guide_to
from server.mcp.inputs import InputImage
from server.mcp.previews import before_and_after
from server.mcp.responses import fact, picture_line, picture_link, picture_response
from server.mcp.runs import Reply, Run
from server.mcp.service import Service, Source
from server.mcp.verdict_text import (
    candidates_line,
    describe,
    face_verdicts,
    faces_lines,
    judgement_of,
    override_hint,
    why_kept,
)
from server.mcp.workspace import CandidateOf
from toolbox.card import ExpertCard
from toolbox.tasks import Task


@dataclass(frozen=True, slots=True)
class StepOptions:
    """The arguments of a step tool, apart from its image; each tool has those that its task needs."""

    scale: inputs.ScaleArgument = 4
    """Scale of the result, at most that of the step."""
    expert: inputs.ExpertArgument = None
    """The only expert, whose result always wins."""
    strength: inputs.StrengthArgument = 1.0
    region: inputs.RegionArgument = None
    profile: inputs.ProfileArgument = "default"
    detail: inputs.DetailArgument = None
    """Replaces the profile's."""
    output: inputs.OutputArgument = None
    original: inputs.OriginalArgument = None
    """The picture that faces are compared with."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A step on an image of the workspace, as its caller wants it."""

    service: Service
    source: Source
    guide: Guide
    step: Step
    profile: Profile
    options: StepOptions
    name: str
    """Base name of the file of its result."""
    token: ProgressToken

    def reply(self, result: StepResult, input_verdict: Verdict | None = None) -> Reply:
        """Save the best result, unless it is the input, and describe it and the next call.

        `input_verdict`: the verdict on the input, if it is not among those of the result.
        """
        best, verdicts = result.best, result.verdicts
        if best is None:
            raise RequestError(
                f"no expert could do {self.step}: {'; '.join(verdict.error or '' for verdict in verdicts)}",
                "try another expert or image",
            )
        input_verdict = _input_verdict_of(verdicts) or input_verdict
        if best.image is None or best.verdict.expert == KEEP_INPUT:
            return self._kept(best, result, input_verdict)
        return self._changed(best, best.image, result, input_verdict)

    def _kept(self, best: Candidate, result: StepResult, input_verdict: Verdict | None) -> Reply:
        source, is_chosen, verdicts = self.source, bool(self.profile.experts), result.verdicts
        self.guide.took(self.step, result, self.profile, source.picture.handle, source.image, best.features)
        hint = "" if is_chosen else override_hint([*verdicts, *face_verdicts(best.faces)])
        why = why_kept(best, verdicts, is_chosen=is_chosen)
        lines = [
            f"{self.step}: {why}; the input is kept, and nothing was written.",
            picture_line(source.picture),
            *self._facts(best, verdicts, input_verdict),
            fact("otherwise", hint),
            *_next_lines(self.guide),
        ]
        return Reply(picture_response(lines))

    def _changed(
        self, best: Candidate, result_image: Image, result: StepResult, input_verdict: Verdict | None
    ) -> Reply:
        source, step, options, winner = self.source, self.step, self.options, best.verdict
        image = self._blended(result_image)
        is_modified = image is not result_image
        candidate = CandidateOf(
            parent=source.picture.handle,
            step=step,
            verdict=winner,
            input_verdict=input_verdict,
            is_modified=is_modified,
        )
        file, picture = self.service.store_result(
            image, self.name, source.name, self.token, options.output, candidate
        )
        features = None if is_modified else best.features
        self.guide.took(step, result, self.profile, picture.handle, image, features)
        seen = before_and_after(source.image, image)
        # Each face is judged on its own.
        is_worse = input_verdict and winner.score <= input_verdict.score and best.faces is None
        scale = f"{options.scale:g}x, the {step.scale}x result of the expert reduced"
        blending = ", before blending" if options.strength < 1 or options.region else ""
        lines = [
            f"{step} by {winner.expert}; saved as {file}.",
            picture_line(picture),
            *self._facts(best, result.verdicts, input_verdict, blending),
            fact("note", "chosen, though its score is not above that of the input" if is_worse else ""),
            fact("strength", options.strength if options.strength < 1 else None),
            fact("region", options.region),
            fact("scale", scale if options.scale < step.scale else ""),
            fact("file", file),
            seen.line,
            fact("undo", f"{source.picture.handle} is the image before this step"),
            *_next_lines(self.guide),
        ]
        link = picture_link(picture, "The result", file)
        return Reply(picture_response(lines, *seen.pictures, link), file)

    def _facts(
        self, best: Candidate, verdicts: Sequence[Verdict], input_verdict: Verdict | None, blending: str = ""
    ) -> list[str]:
        """The expert, its score and those of the others; `blending`: an addition to the score."""
        winner = best.verdict
        lines = [fact("expert", winner.expert)]
        if not best.faces or best.faces.faces:
            before = f" (input {input_verdict.score:.4f})" if input_verdict else ""
            lines += [fact("score", f"{winner.score:.4f}{before}{blending}"), candidates_line(verdicts)]
        return lines + faces_lines(best.faces, self.service.mask(self.options.region), self.source.image)

    def _blended(self, after: Image) -> Image:
        """The result in the requested scale, blended by strength and region."""
        before, options = self.source.image, self.options
        if options.scale < self.step.scale:
            width, height = _size_of_result(before, self.step, options)
            after = after.with_pixels(resize(after.pixels, height, width))
        mask = self.service.mask(options.region)
        return blend(before, after, options.strength, mask(before) if mask else None)


def step_of(tool: str, scale: float) -> Step:
    """The step of a tool that gives at least that scale. Raises `RequestError`."""
    task = inputs.TASK_TOOL_NAMES[tool]
    if task is not Task.SUPER_RESOLUTION:
        return Step(task=task)
    if scale == 16:
        return Step(task=task, scale=16)
    if scale > 4:
        raise RequestError(f"{tool} enlarges at most 4 times, not {scale:g}", "for 8x call with 2 and then 4")
    return Step(task=task, scale=2 if scale <= 2 else 4)


def take_step(service: Service, run: Run, tool: str, image: inputs.ImageArgument, options: StepOptions) -> Reply:
    """Take one step and save its result under the names of photo and tool. Raises `RestoreError`."""
    step, token = step_of(tool, options.scale), run.token
    profile = service.profile(options.profile, detail=options.detail)
    source = service.open(image, token)
    original = service.open(options.original, token).image if options.original else None
    name = f"{source.name}_{tool}"
    if mask := service.mask(options.region):
        mask(source.image)  # errors of mask and output are raised before the work
    service.new_output(name, options.output, _size_of_result(source.image, step, options))
    cards: Sequence[ExpertCard] = ()
    if options.expert:
        cards = _named_experts(service, step, profile, [options.expert])
        profile = profile.model_copy(update={"experts": (service.known_expert(options.expert),)})
    guide = guide_to(service, source, profile)
    if original:
        require_same_shape(original, source.image)
    context = _step_context(service, guide, source, step, profile, token)
    context = replace(context, original=original or context.original)
    result = run_step(
        context,
        cards or _some(experts_for(context), step),
        observe=lambda one: run.status.notify(describe(one.verdict)),
    )
    return _Step(service, source, guide, step, profile, options, name, token).reply(result)


def judge_candidates(
    service: Service,
    source: Source,
    step: Step,
    profile: Profile,
    experts: Sequence[str] | None,
    run: Run,
) -> list[tuple[str | None, Verdict, Image | None]]:
    """Run a step's experts on the whole image and keep every result under a handle of its own.

    Returns handle, verdict and image of each, sorted by name, so that the order does not reveal the scores.
    """
    if experts:
        cards = _named_experts(service, step, profile, experts)
    else:
        cards = _some(candidates(step, profile, service.experts), step)
    found: list[tuple[str | None, Verdict, Image | None]] = []

    def keep(candidate: Candidate) -> None:
        run.status.notify(describe(candidate.verdict))
        handle = None
        if candidate.image is not None:
            kept = _input_verdict_of([candidate.verdict, *(verdict for _, verdict, _ in found)])
            origin = CandidateOf(
                parent=source.picture.handle, step=step, verdict=candidate.verdict, input_verdict=kept
            )
            handle = service.workspace.store_image(candidate.image, origin, source.name, run.token)
        found.append((handle, candidate.verdict, candidate.image))

    whole = profile.model_copy(update={"exhaustive": True})
    guide = guide_to(service, source, profile)
    run_step(_step_context(service, guide, source, step, whole, run.token), cards, observe=keep)
    found.sort(key=lambda row: (row[2] is None, row[1].expert))
    return found


def select_candidate(
    service: Service, handles: Sequence[str], choice: str | None, options: StepOptions, token: ProgressToken
) -> Reply:
    """Save the best of the candidates of one step, or `choice` among them, as the agent finishes a step.

    Raises `RequestError` if the handles are not candidates of one and the same step.
    """
    handles = [*handles, choice] if choice and choice not in handles else handles
    found = {handle: _candidate(service, handle) for handle in handles}
    parents = {(candidate.parent, candidate.step) for candidate in found.values()}
    if len(parents) != 1:
        raise RequestError(
            "these are candidates of different steps or images", "give handles from one run_candidates result"
        )
    parent, step = parents.pop()
    verdicts = [candidate.verdict for candidate in found.values()]
    best = found[choice].verdict if choice else best_verdict(verdicts)
    handle = next(handle for handle, candidate in found.items() if candidate.verdict is best)
    winner = Candidate(best, service.workspace.load(handle, service.settings.limits()))
    source, result = service.open(InputImage("handle", parent)), StepResult(winner, tuple(verdicts), None)
    profile = service.profile("default").model_copy(update={"experts": (best.expert,) if choice else ()})
    guide, name = guide_to(service, source, profile), f"{source.name}_{step.task.value}"
    taken = _Step(service, source, guide, step, profile, replace(options, scale=step.scale), name, token)
    return taken.reply(result, found[handle].input_verdict)


def finish_image(
    service: Service,
    source: Source,
    width: int | None,
    height: int | None,
    output: str | None,
    token: ProgressToken,
    *,
    stretch: bool,
) -> Reply:
    """Resize an image to its final size, as a run does, and save it; a missing side follows from the aspect ratio.

    Raises `RequestError` for another aspect ratio, unless `stretch`, and for too many pixels.
    """
    image = source.image
    if width is None and height is None:
        width, height = image.width, image.height
    width = width or max(1, round(image.width * (height or 0) / image.height))
    height = height or max(1, round(image.height * width / image.width))
    service.require_pixels(width, height)
    if min(width, height) < MIN_SIDE:
        raise RequestError(f"{width}x{height} is too small", f"each side must have at least {MIN_SIDE} pixels")
    if not have_same_shape((width, height), (image.width, image.height)) and not stretch:
        right = max(1, round(image.height * width / image.width))
        raise RequestError(
            f"{width}x{height} would stretch an image of {image.width}x{image.height}",
            f"give one side only ({width}x{right} keeps the aspect), or stretch = true",
        )
    service.new_output(f"{source.name}_restored", output, (width, height))  # raises before the work
    search = guide_to(service, source, service.profile("default")).search
    scale = width / search.state.nodes[0].width
    planned = Plan(steps=(), final_width=width, final_height=height, by="caller")
    finished = finish(image, planned, search.state.profile.grain, scale)
    file, picture = service.store_result(finished, f"{source.name}_restored", source.name, token, output)
    lines = [
        f"Finished at {width}x{height}; saved as {file}.",
        picture_line(picture),
        fact("file", file),
        fact("undo", f"{source.picture.handle} is the image before"),
    ]
    seen = before_and_after(image, finished, with_detail=False)
    link = picture_link(picture, "The finished picture", file)
    return Reply(picture_response([*lines, seen.line], *seen.pictures, link), file)


def _step_context(
    service: Service, guide: Guide, source: Source, step: Step, profile: Profile, token: ProgressToken
) -> StepContext:
    """The context of a step. Raises `RestoreError` if there is no room for its result."""
    service.require_room(source.image.width * step.scale, source.image.height * step.scale)
    return replace(context_of(guide.search, step, profile), token=token)


def _some(cards: tuple[ExpertCard, ...], step: Step) -> tuple[ExpertCard, ...]:
    """`cards` unchanged. Raises `RequestError` if there are none for the step."""
    if not cards:
        hint = "call super_resolve with 4 twice" if step.scale == 16 else "list_experts shows what there is"
        raise RequestError(f"no expert for {step} is installed", hint)
    return cards


def _named_experts(service: Service, step: Step, profile: Profile, experts: Sequence[str]) -> tuple[ExpertCard, ...]:
    """The named cards. Raises `RequestError` for one of another step, or one that the profile does not allow."""
    named = tuple(service.experts.catalogue.card(expert_of(name)) for name in experts)
    for card in named:
        if (card.task, card.scale) != (step.task, step.scale):
            fitting = ", ".join(other.name for other in service.experts.runnable(step.task, step.scale))
            raise RequestError(
                f"expert {card.name} does {card.task.value} {card.scale}x, not {step}",
                (f"give scale {card.scale}, or " if card.task is step.task else "")
                + f"choose one of: {fitting or 'none is installed'}",
            )
        if not is_allowed(card, profile):
            raise RequestError(
                f"the licence of expert {card.name} forbids commercial use, and profile {profile.name} allows none",
                "choose another expert, or a profile with non_commercial = true",
            )
    return named


def _candidate(service: Service, handle: str) -> CandidateOf:
    candidate = judgement_of(service.workspace, handle)
    if candidate is None:
        raise RequestError(f"{handle} is not a candidate", "give handles from a run_candidates result")
    return candidate


def _input_verdict_of(verdicts: Sequence[Verdict]) -> Verdict | None:
    return next((verdict for verdict in verdicts if verdict.expert == KEEP_INPUT), None)


def _next_lines(guide: Guide) -> list[str]:
    """Decisions about the plan and its next call; none without a plan."""
    call = guide.next_call()
    notes, guide.notes = guide.notes, []
    return [*(fact("plan", note) for note in notes), fact("next", call)]


def _size_of_result(before: Image, step: Step, options: StepOptions) -> tuple[int, int]:
    """Width and height."""
    scale = min(options.scale, step.scale)
    return round(before.width * scale), round(before.height * scale)
