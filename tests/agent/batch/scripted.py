"""A folder of pictures, restored by a worker that does what their content says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from agent.batch.engines.in_process import InProcessEngine
from agent.batch.engines.work import BatchConfig, Outcome, Work
from agent.batch.engines.worker import Worker
from agent.batch.record import Figures
from agent.batch.request import BatchRequest
from agent.batch.runner import BatchListener, BatchReport, run_batch
from agent.run import StepTaken
from imaging.progress import ProgressToken
from profiles.schema import Profile

JPEG = b"\xff\xd8 thumbnail"


class ScriptedWorker(Worker):
    """Turns the letters of a file around; fails where the file says so."""

    def __init__(self, config: BatchConfig, started: list[str]) -> None:
        super().__init__(config)
        self._started = started

    def _restored(self, work: Work, token: ProgressToken, report: Callable[[float], None]) -> Outcome:
        self._started.append(work.picture.name)
        data = work.picture.file.read_bytes()
        if data.startswith(b"bad"):
            return Outcome(work, reason=f"{work.picture.file} is broken")
        work.result.write_bytes(data[::-1])
        step = StepTaken(step="denoising", expert="scripted", score=0.75)
        figures = Figures(
            width=640, height=480, plan=("denoising",), steps=(step,), quality=0.5, gain=0.125, seconds=2.0
        )
        thumbnail = JPEG if work.thumbnails else b""
        return Outcome(work, figures, before=thumbnail, after=thumbnail)


class Folder:
    """Pictures, results, and which of the pictures a worker has had."""

    def __init__(self, path: Path) -> None:
        self.source, self.results = path / "in", path / "out"
        self.source.mkdir()
        self.started: list[str] = []

    def add(self, *names: str, data: bytes = b"picture") -> None:
        for name in names:
            file = self.source / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data + b" of " + name.encode())

    def run(
        self, token: ProgressToken | None = None, listener: BatchListener | None = None, **keys: object
    ) -> BatchReport:
        self.started.clear()
        request = BatchRequest(self.source, self.results, **{"profile": Profile(name="test"), **keys})  # type: ignore[arg-type]

        def engine(config: BatchConfig) -> InProcessEngine:
            return InProcessEngine(ScriptedWorker(config, self.started))

        return run_batch(request, engine, token=token, listener=listener)

    def outputs(self) -> set[str]:
        """All results."""
        files = (file for file in self.results.rglob("*") if file.is_file())
        names = {file.relative_to(self.results).as_posix() for file in files}
        return {name for name in names if not name.startswith("restore4k-batch/")}

    def text(self, name: str) -> str:
        return (self.results / name).read_text()

    def page(self, name: str = "summary.html") -> str:
        return self.text(f"restore4k-batch/{name}")

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.page("record.jsonl").splitlines()]


def counts(report: BatchReport) -> tuple[int, int, int, int]:
    return report.done, report.failed, report.done_before, report.failed_before
