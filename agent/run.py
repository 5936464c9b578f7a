"""The main job: one file in, one restored file out, with a run folder that shows the work and can be resumed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from agent.errors import RunError
from agent.events import Listener
from agent.loop import run_loop
from agent.qmoe import is_allowed, is_preferred
from agent.reasoners.factory import choose_reasoner
from agent.reasoners.reasoner import Reasoner
from agent.run_context import RunContext
from agent.run_folder import RunFolder
from agent.state import KEEP_INPUT, ModelUse, Node, RunState
from agent.timer import Timer
from imaging.alpha import bleed_alpha
from imaging.errors import Cancelled, OutputExists
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import Limits, read_image
from imaging.writing import check_output
from profiles.schema import Profile
from toolbox.pool import ExpertPool


class StepTaken(BaseModel):
    """One step on the way to the result."""

    step: str
    expert: str
    score: float


class RestorationSummary(BaseModel):
    """What a restoration came to, in a few lines."""

    output: str
    report: str
    run: str
    width: int
    height: int
    plan: list[str]
    steps: list[StepTaken]
    warnings: list[str]
    seconds: dict[str, float]
    model_use: ModelUse = ModelUse()
    """What asking language models took; its seconds are part of those above."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """A finished run."""

    state: RunState
    folder: Path
    image: Image | None = field(default=None, compare=False, repr=False)
    """The restored picture, where this call has made it."""

    @property
    def output(self) -> Path:
        """The restored picture."""
        return Path(self.state.output)

    @property
    def report(self) -> Path:
        """The page that shows the work."""
        return self.folder / "report.html"

    def path_taken(self) -> tuple[Node, ...]:
        """The nodes from the input to the result."""
        return self.state.path_to(self.state.current)

    def summary(self) -> RestorationSummary:
        """What it came to."""
        state = self.state
        plan = state.plan
        return RestorationSummary(
            output=state.output,
            report=str(self.report),
            run=str(self.folder),
            width=plan.final_width if plan else 0,
            height=plan.final_height if plan else 0,
            plan=[str(step) for step in plan.steps] if plan else [],
            steps=[
                StepTaken(step=str(node.step), expert=node.expert or KEEP_INPUT, score=round(node.score, 4))
                for node in self.path_taken()
                if node.step is not None
            ],
            warnings=list(state.warnings),
            seconds={name: round(value, 3) for name, value in state.seconds.items()},
            model_use=state.model_use,
        )


def restore_file(
    source: Path,
    output: Path,
    profile: Profile,
    *,
    runs: Path,
    image: Image | None = None,
    overwrite: bool = False,
    limits: Limits | None = None,
    experts: ExpertPool | None = None,
    reasoner: Reasoner | None = None,
    token: ProgressToken | None = None,
    listener: Listener | None = None,
) -> Restoration:
    """Restore the picture in `source` and write it to `output`; the run's trace goes to a new folder in `runs`.

    `image`: the picture, where `source` has been read already. `reasoner`: whom to ask instead of the one that the
    profile names. Raises `ImageError` or `OutputError` before any work is done, `PlanError`, `Cancelled`, `RunError`
    where the trace cannot be written, and `OutputError` where the result cannot. After these three the run can be
    taken up again by `resume_run`.
    """
    check_output(output, overwrite)
    timer = Timer()
    experts = experts or ExpertPool()
    reasoner, warning = (reasoner, "") if reasoner else choose_reasoner(profile, experts)
    if image is None:
        with timer.section("reading"):
            image = bleed_alpha(read_image(source, limits or Limits()))
    if not profile.experts:  # those that are named may need no network, nor its 400 MB
        experts.get_ready()
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = RunFolder.create(runs / f"{stamp}-{secrets.token_hex(3)}")
    root = Node(id=0, width=image.width, height=image.height, remaining_steps=())
    state = RunState(
        id=folder.path.name,
        source=str(source),
        output=str(output.absolute()),
        overwrite=overwrite,
        profile=profile,
        reasoner=reasoner.name,
        nodes=(root,),
    )
    context = RunContext(state, folder, timer, token or ProgressToken(), listener, experts)
    context.start(image)
    return _go_on(context, experts, reasoner, warning)


def resume_run(
    folder: Path,
    *,
    output: Path | None = None,
    overwrite: bool = False,
    experts: ExpertPool | None = None,
    reasoner: Reasoner | None = None,
    token: ProgressToken | None = None,
    listener: Listener | None = None,
) -> Restoration:
    """Go on from the last finished step of a run that ended without a result; a finished run is only returned.

    `output`: where the result goes instead; `overwrite`: it may replace what is there. Raises `RunError` where the
    folder is no run, or one whose result is elsewhere already or gone; `OutputError` where something took the
    result's place.
    """
    kept = RunFolder(folder)
    state = kept.load_state()
    place = str(output.absolute()) if output else state.output
    if state.finished:
        if place != state.output:
            raise RunError(f"run {state.id} is finished, its result is {state.output}", "copy that file")
        if not Path(state.output).exists():
            raise RunError(
                f"run {state.id} is finished, but its result {state.output} is gone", f"restore {state.source} again"
            )
        return Restoration(state, folder)
    state = state.model_copy(update={"output": place, "overwrite": state.overwrite or overwrite})
    check_output(Path(state.output), state.overwrite)
    experts = experts or ExpertPool()
    reasoner, warning = (reasoner, "") if reasoner else choose_reasoner(state.profile, experts)
    context = RunContext(state, kept, Timer(state.seconds), token or ProgressToken(), listener, experts)
    context.start()
    return _go_on(context, experts, reasoner, warning)


def _go_on(context: RunContext, experts: ExpertPool, reasoner: Reasoner, warning: str) -> Restoration:
    if warning and warning not in context.state.warnings:
        context.warn(warning)
    profile = context.state.profile
    experts.turn_to(profile.model_dump_json(), lambda card: is_allowed(card, profile) and is_preferred(card, profile))
    try:
        result = run_loop(context, experts, reasoner.bind(context, context.token))
    except Cancelled:
        context.save()
        context.write_report()
        raise
    except OutputExists as error:
        raise OutputExists(error.message, "resume the run with another output, or with overwriting") from error
    finally:
        context.writer.close()
    return Restoration(context.state, context.folder.path, result)
