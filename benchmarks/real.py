"""Benchmark of the agent on real photographs: pairs with a reference, clean photos, and a sheet for inspection.

    python -m benchmarks.real --data BENCH --output RESULTS
    python -m benchmarks.real --data BENCH --output RESULTS --sets real_noise clean_grey --count 20 --experts all

Sets: real_noise and real_lens (pairs, at the input's size); clean_colour and clean_grey (BSD100 at 1x, and its
bicubic reductions enlarged 2x and 4x); sheet (photos without reference: input beside result). The agent takes the
camera's files as they are. PSNR is of RGB.

--experts: the experts to run alone on every pair (on reduced photos: those for super-resolution). prior: the one of
each task with the best expert prior (for pairs the prior with co-occurring degradations, for reduced photos the one
without); all: every one that can run. Face experts are left out, since they need an aligned face.

RESULTS keeps a line of JSON for every restoration, and the agent's results as PNG: a stopped run is
resumed. The tables go to benchmarks/reports/real.md, the sheets to RESULTS/sheets. No figure here may be used to tune
anything.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.expert_choice import candidates
from agent.run import Restoration, restore_file
from agent.state import KEEP_INPUT, Step
from benchmarks import report
from benchmarks.agent_on import at_scale
from benchmarks.real_report import tables
from benchmarks.real_results import AGENT, Found, Results, Row
from benchmarks.real_sets import SETS, Case, cases_of
from benchmarks.real_sheets import save_sheets
from imaging.errors import RestoreError
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.resizing import resize
from iqa.expert_priors import MIXED_SEVERITY, expert_prior
from iqa.metrics.psnr import psnr
from profiles.loading import load_profile
from profiles.schema import Profile
from toolbox.expert import run_expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

NEVER_ALONE = (Task.SUPER_RESOLUTION, Task.FACE_RESTORATION)
"""Tasks whose experts do not run alone on a whole picture of the same size."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Settings of all restorations of one run."""

    profile: Profile
    experts: ExpertPool
    results: Results
    pictures: Path
    """Folder of the agent's results."""
    commit: str

    def picture(self, case: Case) -> Path:
        """The path of the agent's result of a case."""
        return self.pictures / case.set_name / f"{case.name}.png"

    def restore(self, case: Case) -> None:
        """Let the agent restore a picture, unless that has been done."""
        if self.results.has(case.set_name, case.name) and self.picture(case).exists():
            return
        self.picture(case).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self._store(self._by_agent(case, Path(folder)))

    def run_alone(self, case: Case, expert: str) -> None:
        """Let one expert restore a picture, unless that has been done."""
        if self.results.has(case.set_name, case.name, expert):
            return
        with tempfile.TemporaryDirectory() as folder:
            self._store(self._by_expert(case, expert, Path(folder)))

    def experts_for(self, case: Case, choice: str) -> tuple[str, ...]:
        """The experts that run alone on a case: none, the one with the best prior of each task, or all."""
        if choice == "none" or case.kind == "sheet" or (case.kind == "clean" and case.scale == 1):
            return ()
        if case.kind == "pair":
            steps = [Step(task=task) for task in Task if task not in NEVER_ALONE]
        else:
            steps = [Step(task=Task.SUPER_RESOLUTION, scale=2 if case.scale == 2 else 4)]
        if choice == "all":
            return tuple(card.name for step in steps for card in self.experts.runnable(step.task, step.scale))
        co_severity = MIXED_SEVERITY if case.kind == "pair" else 0.0
        return tuple(self._first(step, co_severity) for step in steps if candidates(step, self.profile, self.experts))

    def _first(self, step: Step, co_severity: float) -> str:
        """The expert with the best prior at this co-degradation severity."""
        able = candidates(step, self.profile, self.experts)
        return max(able, key=lambda card: expert_prior(card.task, card.name, co_severity)).name

    def _by_agent(self, case: Case, folder: Path) -> Row:
        source, output, started = case.source(folder), self.picture(case), time.perf_counter()
        profile, row = at_scale(self.profile, case.scale), self._row(case, AGENT)
        try:
            run = restore_file(source, output, profile, runs=folder / "runs", overwrite=True, experts=self.experts)
        except Exception as error:  # any error: the other pictures are still restored
            return row.model_copy(update={"error": f"{type(error).__name__}: {error}"})
        facts = {"seconds": time.perf_counter() - started, **_facts(run)}
        return row.model_copy(update=facts | _measured(case, read_image(source), read_image(output)))

    def _by_expert(self, case: Case, expert: str, folder: Path) -> Row:
        image, started = read_image(case.source(folder)), time.perf_counter()
        try:
            result = run_expert(self.experts.get(expert), image, ProgressToken())
        except RestoreError as error:
            return self._row(case, expert).model_copy(update={"error": str(error)})
        measured = {**_measured(case, image, result), "seconds": time.perf_counter() - started}
        return self._row(case, expert).model_copy(update=measured)

    def _row(self, case: Case, by: str) -> Row:
        return Row(set_name=case.set_name, picture=case.name, by=by, commit=self.commit, scale=case.scale)

    def _store(self, row: Row) -> None:
        self.results.add(row)
        gain = "" if row.result_db is None else f"{row.gain:+8.2f} dB"
        done = row.told_steps if row.by == AGENT else row.error
        print(f"{row.set_name:20} {row.picture:34} {row.by:30}{gain:12}{row.seconds:7.1f} s  {done}", flush=True)


def _facts(run: Restoration) -> dict[str, object]:
    """Findings and steps of a run."""
    perceived = run.state.perception
    steps = tuple(step for step in run.summary().steps if step.expert != KEEP_INPUT)
    if perceived is None:
        return {"steps": steps}
    present = [(name, perceived.findings[name]) for name in perceived.present()]
    found = tuple(
        Found(degradation=name, severity=finding.severity, confidence=round(finding.confidence, 3))
        for name, finding in present
    )
    return {
        "steps": steps,
        "found": found,
        "content": f"{perceived.content.value} {perceived.content_confidence:.0%}",
    }


def _measured(case: Case, image: Image, result: Image) -> dict[str, object]:
    """PSNR of input and result against the truth, and whether the result is the input."""
    untouched = result.pixels.equal(image.pixels)
    truth = case.truth()
    if truth is None:
        return {"untouched": untouched}
    plain = image.with_pixels(resize(image.pixels, truth.height, truth.width))
    return {"untouched": untouched, "input_db": psnr(plain, truth), "result_db": psnr(result, truth)}


def command_of(arguments: argparse.Namespace) -> str:
    """The command without the names of folders on this machine."""
    count = "" if arguments.count is None else f" --count {arguments.count}"
    profile = "" if arguments.profile == "default" else f" --profile {arguments.profile}"
    scale = f" --sheet-scale {arguments.sheet_scale}" if "sheet" in arguments.sets else ""
    sets = " ".join(arguments.sets)
    return (
        f"python -m benchmarks.real --data BENCH --output RESULTS --sets {sets}{count} "
        f"--experts {arguments.experts}{profile}{scale}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of results; a stopped run is resumed there"
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS, metavar="SET")
    parser.add_argument("--count", type=int, help="maximum pictures per set, evenly spread")
    parser.add_argument("--experts", default="prior", choices=("none", "prior", "all"), help="which run alone")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--sheet-scale", type=int, default=2, choices=(1, 2, 4), help="enlargement of the sheet")
    parser.add_argument("--report-only", action="store_true", help="restore nothing, write what is known")
    arguments = parser.parse_args(argv)
    results, commit = Results(arguments.output / "results.jsonl"), report.commit()
    if not arguments.report_only and (others := set(results.commits()) - {commit}):
        parser.error(
            f"{arguments.output} holds results of commit {', '.join(others)}, this is {commit}: name another"
        )
    try:
        cases = {
            name: cases_of(arguments.data, name, arguments.count, arguments.sheet_scale) for name in arguments.sets
        }
    except FileNotFoundError as error:
        parser.error(str(error))
    bench = Bench(load_profile(arguments.profile), ExpertPool(), results, arguments.output / "pictures", commit)
    for name in arguments.sets:
        if not arguments.report_only:
            _run(bench, cases[name], arguments.experts)
        every = [case for name in arguments.sets for case in cases[name]]
        text, command = tables(every, results), command_of(arguments)
        file = report.save("real", "Real photographs", text, command=command, commits=results.commits())
    if "sheet" in arguments.sets:
        save_sheets(cases["sheet"], results, bench.picture, arguments.output / "sheets")
    print(file)


def _run(bench: Bench, cases: Sequence[Case], experts: str) -> None:
    """The agent on every picture, then each expert alone."""
    for case in cases:
        bench.restore(case)
    for case in cases:
        for expert in bench.experts_for(case, experts):
            bench.run_alone(case, expert)


if __name__ == "__main__":
    main()
