"""The command line. Heavy libraries are imported inside the commands, so that --help is fast."""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.errors import RunError
from imaging.device import keep_buffers
from imaging.errors import Cancelled, OutputError
from imaging.pixels import memory_limited
from imaging.progress import ProgressToken
from server.cli.batch_command import batch
from server.cli.console import BAD_REQUEST, SIGNALLED, Answer, stopped_by_signals
from server.cli.models_commands import app as models_app
from server.cli.options import (
    BudgetOptions,
    ImageArgument,
    JsonOption,
    PlanOptions,
    ReasonerOption,
    RunOptions,
    grouped,
)
from server.cli.serve_command import serve
from server.settings import default_runs
from toolbox.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from agent.run import Restoration

app = typer.Typer(
    name="restore4k",
    help="Restore any photo, up to 4K: measure, plan, run several experts per step, keep the best result.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(models_app, name="models")


@app.command()
@grouped
def restore(
    image: ImageArgument,
    plan: PlanOptions,
    budget: BudgetOptions,
    work: RunOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Result file or its folder. Default: NAME_restored.png beside the photo."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a photo, up to 4K."""
    with Answer(as_json) as answer, memory_limited(work.memory):
        from agent.run import restore_file

        profile = plan.choose(budget.max_seconds, budget.max_runs)
        runs = (work.runs or default_runs()).absolute()
        run = partial(restore_file, image, _output_of(image, output), profile, runs=runs, overwrite=work.overwrite)
        _run(answer, run, runs, work.quiet)


@app.command()
@grouped
def resume(
    run: Annotated[str, typer.Argument(help="Run folder, or its name in the folder of run folders.")],
    work: RunOptions,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Result file. Default: the one given to the first command.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Resume a run that was killed or cancelled, or whose result could not be written."""
    with Answer(as_json) as answer, memory_limited(work.memory):
        from agent.run import resume_run

        folder = (work.runs or default_runs()).absolute()
        path = (Path(run) if os.sep in run or Path(run).is_dir() else folder / run).absolute()
        _run(answer, partial(resume_run, path, output=output, overwrite=work.overwrite), path.parent, work.quiet)


@app.command()
def analyze(image: ImageArgument, reasoner: ReasonerOption = None, as_json: JsonOption = False) -> None:
    """Report the degradations of a photo."""
    with Answer(as_json) as answer:
        from imaging.alpha import bleed_alpha
        from imaging.reading import read_image
        from server.cli.tables import show_diagnosis
        from server.planning import perceive_with_warnings
        from server.profile_options import choose_profile
        from server.schemas import DegradationReport, Diagnosis
        from toolbox.pool import ExpertPool

        wanted = choose_profile("default", reasoner=reasoner)
        perception, warnings = perceive_with_warnings(
            bleed_alpha(read_image(image)), wanted, ExpertPool(), ProgressToken()
        )
        report = DegradationReport(image=None, diagnosis=Diagnosis.of(perception), warnings=warnings)
        answer.write(report.model_dump(mode="json"), lambda console: show_diagnosis(console, report))


@app.command()
def quality(image: ImageArgument, as_json: JsonOption = False) -> None:
    """Measure the quality of a photo with every installed metric."""
    with Answer(as_json) as answer:
        from imaging.alpha import bleed_alpha
        from imaging.reading import read_image
        from server.cli.tables import show_quality
        from server.quality_report import quality_report
        from toolbox.pool import ExpertPool

        report = quality_report(bleed_alpha(read_image(image)), None, ExpertPool())
        answer.write(report.model_dump(mode="json"), lambda console: show_quality(console, report))


@app.command()
@grouped
def plan(image: ImageArgument, options: PlanOptions, as_json: JsonOption = False) -> None:
    """Show the plan for a photo without restoring it."""
    with Answer(as_json) as answer:
        from imaging.alpha import bleed_alpha
        from imaging.reading import read_image
        from server.cli.tables import show_plan
        from server.planning import plan_report
        from toolbox.pool import ExpertPool

        picture = bleed_alpha(read_image(image))
        report = plan_report(picture, options.choose(), ExpertPool(), None, ProgressToken())
        answer.write(report.model_dump(mode="json"), lambda console: show_plan(console, report))


@app.command()
def experts(
    task: Annotated[Task | None, typer.Option("--task", help="Only the experts for this task.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the experts, and what those that cannot run yet need."""
    with Answer(as_json) as answer:
        from server.cli.tables import show_experts
        from server.expert_report import ExpertReport
        from toolbox.catalogue import catalogue_of
        from toolbox.store import ModelStore

        store = ModelStore()
        cards = [card for card in catalogue_of(store) if task in (None, card.task)]
        reports = [ExpertReport.of(card, store) for card in cards]
        both = zip(cards, reports, strict=True)
        document = {"experts": [card.model_dump(mode="json") | one.model_dump(mode="json") for card, one in both]}
        answer.write(document, lambda console: show_experts(console, reports))


@app.command()
def profiles(
    name: Annotated[str | None, typer.Argument(help="Show every setting of this profile or .toml file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the profiles, or show one."""
    with Answer(as_json) as answer:
        from profiles.loading import load_profile, predefined_profiles
        from server.cli.tables import show_profile, show_profiles

        if name is not None:
            profile = load_profile(name)
            answer.write(profile.model_dump(mode="json"), lambda console: show_profile(console, profile))
            return
        listed = list(predefined_profiles().values())
        document = {"profiles": [profile.model_dump(mode="json") for profile in listed]}
        answer.write(document, lambda console: show_profiles(console, listed))


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check this machine, and report how to fix what is wrong."""
    with Answer(as_json) as answer:
        from server.cli.doctor import examine
        from server.cli.tables import show_checks

        checks = examine()
        healthy = all(check.state != "problem" for check in checks)
        document = {"healthy": healthy, "checks": [check.model_dump() for check in checks]}
        answer.write(document, lambda console: show_checks(console, checks))
        if not healthy:
            raise typer.Exit(1)


app.command()(batch)
app.command()(serve)


def main() -> None:
    """Entry point of the console script."""
    keep_buffers()
    app()


def _output_of(image: Path, output: Path | None) -> Path:
    name = f"{image.stem}_restored.png"
    if output is None:
        return image.with_name(name)
    return output / name if output.is_dir() else output


def _run(answer: Answer, run: Callable[..., Restoration], runs: Path, quiet: bool) -> None:
    """Run until the end or a signal, and show the result, or how to resume."""
    from server.cli.progress_view import ProgressView
    from server.cli.tables import show_restoration

    token = ProgressToken()
    with stopped_by_signals(token) as received, ProgressView(quiet=quiet) as view:
        try:
            restoration = run(token=token, listener=view)
        except (Cancelled, OutputError, RunError) as error:
            command = shlex.join(["restore4k", "resume", str(runs / view.run)])
            again = f"resume with: {command}" if view.run else "no run was started"
            hint = "; ".join(filter(None, (error.hint, again)))
            code = SIGNALLED + received() if isinstance(error, Cancelled) else BAD_REQUEST
            raise answer.fail(type(error).__name__, error.message, hint, code, run=view.run) from None
    summary = restoration.summary()

    def show(console: Console) -> None:
        show_restoration(console, summary)

    answer.write(summary.model_dump(mode="json"), show)
