"""Restores one file: writes the result, and a run folder with trace and report, from which it can be resumed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from agent.errors import RunError
from agent.events import Listener
from agent.expert_choice import is_allowed, is_preferred
from agent.finishing import Finishing
from agent.loop import conclude, run_loop
from agent.planning import result_sizes
from agent.reasoners.factory import choose_reasoner
from agent.reasoners.reasoner import Reasoner
from agent.run_context import RunContext
from agent.run_folder import MASK, RunFolder
from agent.state import KEEP_INPUT, ModelUse, Node, RunState
from agent.timer import Timer
from imaging.errors import Cancelled, OutputExists
from imaging.image import Image
from imaging.output import check_output, check_size
from imaging.preparing import prepared
from imaging.progress import ProgressToken
from imaging.reading import Limits, read_image
from imaging.text import printable
from profiles.schema import Profile
from toolbox.pool import ExpertPool
from toolbox.store import sha256_of

if TYPE_CHECKING:
    from torch import Tensor


class StepTaken(BaseModel):
    """One step on the way to the result."""

    step: str
    expert: str
    score: float


class RestorationSummary(BaseModel):
    """Summary of a restoration."""

    output: str
    report: str
    run: str
    width: int
    height: int
    plan: list[str]
    steps: list[StepTaken]
    left: list[str]
    """Findings and planned steps that were not restored, with reasons."""
    warnings: list[str]
    seconds: dict[str, float]
    model_use: ModelUse = ModelUse()
    """Calls of language models; their seconds are included in those above."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """A finished run."""

    state: RunState
    folder: Path
    image: Image | None = field(default=None, compare=False, repr=False)
    """The restored picture, if this call made it."""

    @property
    def output(self) -> Path:
        """The restored picture."""
        return Path(self.state.output)

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"

    def path_taken(self) -> tuple[Node, ...]:
        """The nodes from the input to the result."""
        return self.state.path_to(self.state.current)

    def left(self) -> list[str]:
        """Findings and planned steps that were not restored, with reasons."""
        state, nodes = self.state, self.path_taken()
        done = {node.step.task for node in nodes if node.step and node.expert not in (None, KEEP_INPUT)}
        tried = {node.step.task for node in state.nodes if node.step}
        budget = {step.task for step in nodes[-1].remaining_steps}
        left = []
        for task in dict.fromkeys(step.task for step in (state.plan.steps if state.plan else ())):
            if task in done:
                continue
            if task in budget:
                why = "the budget was spent"
            elif task in tried:
                why = "tried; no result was better than without it"
            else:
                why = "not needed any more after the steps before it"
            left.append(f"{task.value}: {why}")
        doubtful = (reason for reason in (state.plan.reasons if state.plan else ()) if " is left" in reason)
        return [*left, *(reason.replace(" and is left", "").replace(" is left", "") for reason in doubtful)]

    def summary(self) -> RestorationSummary:
        """The summary of the run."""
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
            left=self.left(),
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
    name: str = "",
    image: Image | None = None,
    page: int | None = None,
    overwrite: bool = False,
    limits: Limits | None = None,
    experts: ExpertPool | None = None,
    reasoner: Reasoner | None = None,
    token: ProgressToken | None = None,
    listener: Listener | None = None,
    finishing: Finishing | None = None,
) -> Restoration:
    """Restore the picture in `source` and write it to `output`; the run's trace goes to a new folder in `runs`.

    `name`: name of the run folder. `image`: the picture, if `source` was already read; otherwise `page` selects the
    page or frame to read, counted from 1. `reasoner`: replaces the one that the profile names. `finishing`: strength,
    mask, exact size and metadata of the result.
    Raises `ImageError`, `RegionError` or `OutputError`, also for a result that its format cannot hold, before any
    work is done, `PlanError`, `Cancelled`, `RunError`
    if the trace cannot be written, and `OutputError` if the result cannot. After the last three, `resume_run`
    continues the run.
    """
    check_output(output, overwrite)
    timer, finishing = Timer(), finishing or Finishing()
    experts = experts or ExpertPool()
    reasoner, warning = (reasoner, "") if reasoner else choose_reasoner(profile, experts)
    if image is None:
        with timer.section("reading"):
            image = prepared(read_image(source, limits, page=page, token=token))
    image = image.without_metadata() if finishing.strip_metadata else image
    image = replace(image, keeps_print_size=finishing.keep_print_size)
    check_size(output, *(finishing.size or result_sizes(image.width, image.height, profile)[1]))
    mask = finishing.mask(image) if finishing.mask else None
    folder = RunFolder.create(runs / (name or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"))
    state = RunState.at_input(
        image.width,
        image.height,
        profile,
        id=folder.path.name,
        source=printable(str(source)),
        output=str(output.absolute()),
        overwrite=overwrite,
        reasoner=reasoner.name,
        strength=finishing.strength,
        is_masked=mask is not None,
        final_size=finishing.size,
    )
    context = RunContext(state, folder, timer, token or ProgressToken(), listener, experts, reasoner)
    with _begun(context, image, mask):
        return _run_to_end(context, warning)


@contextmanager
def _begun(context: RunContext, image: Image, mask: Tensor | None) -> Iterator[None]:
    """Store the input and hold the folder inside the block; a folder that could not be resumed is deleted."""
    with ExitStack() as unless_begun:
        unless_begun.callback(context.folder.delete)
        with context.folder.held():
            if mask is not None:
                context.folder.save_image(MASK, Image(mask.expand(3, -1, -1)))
            context.start(image)
            unless_begun.pop_all()
            for notice in image.warnings:
                context.warn(notice)
            yield


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
    """Continue a run without a result from its last finished step; a finished run is only returned.

    `output`: another path for the result; `overwrite`: replace an existing file. Raises `RunError` if the folder is
    not a run, if another process works on it, or if the run is finished and its result is elsewhere or missing;
    `OutputError` if another file exists at the path of the result.
    """
    stored = RunFolder(folder)
    with nullcontext() if stored.load_state().finished else stored.held():  # a finished one may be read-only
        state = stored.load_state()
        target = str(output.absolute()) if output else state.output
        if state.finished:
            return _finished(state, folder, target)
        if not state.nodes:
            raise RunError(f"run {state.id} has no picture", f"restore {state.source} again")
        is_written = _has_written(state, Path(target))
        state = state.model_copy(update={"output": target, "overwrite": state.overwrite or overwrite})
        if not is_written:
            check_output(Path(target), state.overwrite, _size_of_result(state))
        experts, timer = experts or ExpertPool(), Timer(state.seconds)
        reasoner, warning = (reasoner, "") if reasoner else choose_reasoner(state.profile, experts)
        context = RunContext(state, stored, timer, token or ProgressToken(), listener, experts, reasoner)
        context.start()
        if not is_written:
            return _run_to_end(context, warning)
        conclude(context)
        context.writer.close()
        return Restoration(context.state, folder)


def _finished(state: RunState, folder: Path, output: str) -> Restoration:
    if output != state.output:
        raise RunError(f"run {state.id} is finished, its result is {state.output}", "copy that file")
    if not os.path.exists(output):  # a Path of a name that is too long would raise
        gone = f"run {state.id} is finished, but its result {output} is gone"
        raise RunError(gone, f"restore {state.source} again")
    return Restoration(state, folder)


def _size_of_result(state: RunState) -> tuple[int, int]:
    """Width and height."""
    root = state.nodes[0]
    return state.final_size or result_sizes(root.width, root.height, state.profile)[1]


def _has_written(state: RunState, output: Path) -> bool:
    """Whether the file at `output` is the result of a run that was killed before its state was saved as finished.

    Deletes the temporary file of the result.
    """
    if state.result is None:
        return False
    with suppress(OSError):
        Path(state.output).with_name(state.result.temporary).unlink(missing_ok=True)
    return output.is_file() and sha256_of(output) == state.result.sha256


def _run_to_end(context: RunContext, warning: str) -> Restoration:
    if warning and warning not in context.state.warnings:
        context.warn(warning)
    profile = context.state.profile
    context.experts.evict_unused(
        profile.model_dump_json(), lambda card: is_allowed(card, profile) and is_preferred(card, profile)
    )
    try:
        result = run_loop(context)
    except Cancelled:
        context.save()
        context.write_report()
        raise
    except OutputExists as error:
        raise OutputExists(error.message, "resume the run with another output, or ask for overwriting") from error
    finally:
        context.writer.close()
    return Restoration(context.state, context.folder.path, result)
