"""The command line. Heavy libraries are imported inside the commands, so that --help is fast."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.errors import RunError
from imaging.device import keep_buffers
from imaging.errors import Cancelled, ImageError, NoSuchPage, OutputError
from imaging.heavy_imports import import_heavy
from imaging.pixels import memory_limited
from imaging.progress import ProgressToken
from server.cli import options, tables
from server.cli.batch_command import batch
from server.cli.console import BAD_REQUEST, SIGNALLED, Answer, answered, stopped_by_signals
from server.cli.models_commands import app as models_app
from server.cli.serve_command import serve
from server.errors import RequestError
from server.profile_options import choose_profile
from server.settings import default_runs
from toolbox.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from agent.run import Restoration, RestorationSummary
    from imaging.image import Image

app = typer.Typer(
    name="restore4k",
    help="Restore any photo, up to 4K: measure, plan, run several experts per step, keep the best result.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(models_app, name="models")


@app.command()
@answered
def restore(
    answer: Answer,
    image: options.ImageArgument,
    plan: options.PlanOptions,
    budget: options.BudgetOptions,
    finishing: options.FinishingOptions,
    work: options.RunOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Result file or its folder. Default: NAME_restored.png beside the photo."
        ),
    ] = None,
    page: Annotated[
        int | None,
        typer.Option("--page", min=1, help="Page of a TIFF, or frame of an animation. Default: the first."),
    ] = None,
    all_pages: Annotated[
        bool, typer.Option("--all-pages", help="Every page or frame, each to a numbered result: NAME-001.png.")
    ] = False,
) -> None:
    """Restore a photo, up to 4K."""
    with memory_limited(work.memory):
        _start_engine()
        from agent.run import restore_file

        if all_pages and page is not None:
            raise RequestError("--page and --all-pages exclude each other", "give one of them")
        profile = plan.choose(budget.max_seconds, budget.max_runs)
        runs = (work.runs or default_runs()).absolute()
        run = partial(
            restore_file,
            image,
            profile=profile,
            runs=runs,
            finishing=finishing.value(),
            overwrite=work.overwrite,
        )
        target = _output_path(image, output)
        if all_pages:
            _run_pages(answer, run, target, runs, work.quiet)
        else:
            _run(answer, partial(run, output=target, page=page), runs, work.quiet)


@app.command()
@answered
def resume(
    answer: Answer,
    run: Annotated[str, typer.Argument(help="Run folder, or its name in the folder of run folders.")],
    work: options.RunOptions,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Result file. Default: the one given to the first command.")
    ] = None,
) -> None:
    """Resume a run that was killed or cancelled, or whose result could not be written."""
    with memory_limited(work.memory):
        _start_engine()
        from agent.run import resume_run

        folder = (work.runs or default_runs()).absolute()
        path = (Path(run) if os.sep in run or os.path.isdir(run) else folder / run).absolute()
        _run(answer, partial(resume_run, path, output=output, overwrite=work.overwrite), path.parent, work.quiet)


@app.command()
@answered
def analyze(answer: Answer, image: options.ImageArgument, reasoner: options.ReasonerOption = None) -> None:
    """Report the degradations of a photo."""
    picture = _opened(image)
    from server.reports import degradation_report
    from toolbox.pool import ExpertPool

    wanted = choose_profile("default", reasoner=reasoner)
    report = degradation_report(picture, wanted, ExpertPool(), ProgressToken())
    answer.report(report, tables.show_diagnosis)


@app.command()
@answered
def quality(answer: Answer, image: options.ImageArgument) -> None:
    """Measure the quality of a photo with every installed metric."""
    picture = _opened(image)
    from server.reports import quality_report
    from toolbox.pool import ExpertPool

    report = quality_report(picture, None, ExpertPool())
    answer.report(report, tables.show_quality)


@app.command()
@answered
def plan(answer: Answer, image: options.ImageArgument, wanted: options.PlanOptions) -> None:
    """Show the plan for a photo without restoring it."""
    picture = _opened(image)
    from agent.search.search_state import SearchState
    from agent.state import RunState
    from server.reports import plan_report
    from toolbox.pool import ExpertPool

    state = RunState.at_input(picture.width, picture.height, wanted.choose())
    report = plan_report(SearchState(state, ExpertPool(), lambda _: picture), None, ProgressToken())
    answer.report(report, tables.show_plan)


@app.command()
@answered
def experts(
    answer: Answer,
    task: Annotated[Task | None, typer.Option("--task", help="Only the experts for this task.")] = None,
) -> None:
    """List the experts, and what those that cannot run yet need."""
    from server.expert_report import ExpertReport
    from toolbox.catalogue import catalogue_of
    from toolbox.store import ModelStore

    store = ModelStore()
    cards = [card for card in catalogue_of(store) if task in (None, card.task)]
    reports = [ExpertReport.of(card, store) for card in cards]
    both = zip(cards, reports, strict=True)
    document = {"experts": [card.model_dump(mode="json") | one.model_dump(mode="json") for card, one in both]}
    answer.write(document, lambda console: tables.show_experts(console, reports))


@app.command()
@answered
def profiles(
    answer: Answer,
    name: Annotated[str | None, typer.Argument(help="Show every setting of this profile or .toml file.")] = None,
) -> None:
    """List the profiles, or show one."""
    from profiles.loading import load_profile, predefined_profiles

    if name is not None:
        profile = load_profile(name)
        answer.report(profile, tables.show_profile)
        return
    listed = list(predefined_profiles().values())
    document = {"profiles": [profile.model_dump(mode="json") for profile in listed]}
    answer.write(document, lambda console: tables.show_profiles(console, listed))


@app.command()
@answered
def doctor(answer: Answer) -> None:
    """Check this machine, and report how to fix what is wrong."""
    from server.cli.doctor import examine

    checks = examine()
    healthy = all(check.state != "problem" for check in checks)
    document = {"healthy": healthy, "checks": [asdict(check) for check in checks]}
    answer.write(document, lambda console: tables.show_checks(console, checks))
    if not healthy:
        raise typer.Exit(1)


app.command()(batch)
app.command()(serve)


@app.command()
def skill() -> None:
    """Print a SKILL.md that tells coding agents which command to use when, with JSON fields and costs."""
    text = (resources.files("server") / "cli" / "skill" / "SKILL.md").read_text("utf-8")
    typer.echo(text, nl=False)


def main() -> None:
    """Entry point of the console script."""
    keep_buffers()
    app()


def _start_engine() -> None:
    """Start the decoding process, and import the agent.

    Torch is imported while the file is decoded, so that a wrong name is reported without it.
    """
    from imaging.decoding.process import warm_up

    warm_up()
    import_heavy("agent.run")


def _opened(image: Path) -> Image:
    """Start the engine, and read the photo as the experts get it."""
    _start_engine()
    from imaging.preparing import prepared
    from imaging.reading import read_image

    return prepared(read_image(image))


def _output_path(image: Path, output: Path | None) -> Path:
    """The path of the result. Uses `os.path`, since methods of `Path` raise for names that are too long."""
    name = f"{image.stem}_restored.png"
    if output is None:
        return image.parent / name
    return output / name if os.path.isdir(output) else output


def _run(answer: Answer, run: Callable[..., Restoration], runs: Path, quiet: bool) -> None:
    """Run until the end or a signal, and show the result, or how to resume."""

    summary = _restored(answer, run, runs, quiet)
    answer.report(summary, tables.show_restoration)


def _run_pages(answer: Answer, run: Callable[..., Restoration], target: Path, runs: Path, quiet: bool) -> None:
    """Restore all pages and show the results; stops at the first error."""

    summaries: list[RestorationSummary] = []
    try:
        while True:
            number = len(summaries) + 1
            output = target.with_name(f"{target.stem}-{number:03}{target.suffix}")
            summaries.append(_restored(answer, partial(run, output=output, page=number), runs, quiet))
    except NoSuchPage:
        pass
    except ImageError as error:
        before = "the pages before it are restored; restore later ones with --page"
        raise type(error)(f"page {number}: {error.message}", before if summaries else error.hint) from error

    def show(console: Console) -> None:
        for summary in summaries:
            tables.show_restoration(console, summary)

    answer.write({"pages": [summary.model_dump(mode="json") for summary in summaries]}, show)


def _restored(answer: Answer, run: Callable[..., Restoration], runs: Path, quiet: bool) -> RestorationSummary:
    """Run until the end or a signal."""
    from server.cli.progress_view import ProgressView

    token = ProgressToken()
    with stopped_by_signals(token) as received, ProgressView(quiet=quiet) as view:
        try:
            return run(token=token, listener=view).summary()
        except (Cancelled, OutputError, RunError) as error:
            command = shlex.join(["restore4k", "resume", str(runs / view.run)])
            unstarted = "" if isinstance(error, RunError) else "no run was started"
            again = f"resume with: {command}" if view.run else unstarted
            hint = "; ".join(filter(None, (error.hint, again)))
            code = SIGNALLED + received() if isinstance(error, Cancelled) else BAD_REQUEST
            raise answer.fail(type(error).__name__, error.message, hint, code, run=view.run) from None
