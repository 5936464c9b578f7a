"""A folder of pictures: what is done stays, what fails is set aside, whatever stops it, however many there are."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.batch.engines.in_process import InProcessEngine
from agent.batch.engines.work import BatchConfig, Figures, Outcome, Work
from agent.batch.engines.worker import Worker
from agent.batch.folder import BatchFolder
from agent.batch.pictures import pictures
from agent.batch.record import Entry
from agent.batch.request import BatchRequest
from agent.batch.runner import BatchListener, BatchReport, Tally, run_batch
from agent.errors import BatchError
from agent.run import StepTaken
from imaging.errors import OutputError, ResourceError
from imaging.progress import ProgressToken
from profiles.schema import Profile

HOSTILE = "<img src=x onerror=alert(1)> $title {size}.png"
JPEG = b"\xff\xd8 thumbnail"


class ScriptedWorker(Worker):
    """Turns the letters of a file around; fails where the file says so."""

    def __init__(self, config: BatchConfig, started: list[str]) -> None:
        super().__init__(config)
        self._started = started

    def restore(self, work: Work, token: ProgressToken, tell: Callable[[float], None]) -> Outcome:
        self._started.append(work.source)
        data = work.file.read_bytes()
        if data.startswith(b"bad"):
            return Outcome(work, reason=f"{work.file} is broken")
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

    def made(self) -> set[str]:
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


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def counts(report: BatchReport) -> tuple[int, int, int, int]:
    return report.done, report.failed, report.done_before, report.failed_before


def test_every_picture_below_the_folder_has_its_result_at_the_same_place(folder: Folder) -> None:
    folder.add("a.jpg", "trip/b.PNG", "trip/day 2/c.heic", "notes.txt", ".hidden/d.png", ".e.png")
    report = folder.run()
    assert folder.made() == {"a.png", "trip/b.png", "trip/day 2/c.png"}
    assert folder.text("a.png") == "gpj.a fo erutcip"
    assert (counts(report), report.total, report.finished) == ((3, 0, 0, 0), 3, True)


def test_pictures_that_differ_only_in_the_suffix_do_not_replace_each_other(folder: Folder) -> None:
    folder.add("a.jpg", "A.tif", "b.jpg")
    folder.run()
    assert folder.made() == {"a.jpg.png", "A.tif.png", "b.png"}


def test_results_inside_the_folder_are_not_taken_for_pictures(folder: Folder) -> None:
    folder.add("a.png")
    folder.results = folder.source / "restored"
    folder.run()
    assert counts(folder.run()) == (0, 0, 1, 0)


def test_results_of_another_batch_are_not_taken_for_pictures(folder: Folder) -> None:
    folder.add("a.png", "trip/b.png")
    folder.results = folder.source / "trip/restored"
    folder.run()
    folder.results = folder.source / "restored again"
    assert folder.run().total == 2
    assert folder.made() == {"a.png", "trip/b.png"}
    folder.source, folder.results = folder.source / "trip/restored", folder.source.parent / "out"
    assert folder.run().total == 2  # asked for by name


def test_every_kind_of_file_that_can_be_read_is_a_picture(folder: Folder) -> None:
    folder.add("a.gif", "b.PGM", "c.jfif", "d.heif", "e.svg")
    assert [one.name for one in pictures(folder.source)] == ["a.gif", "b.PGM", "c.jfif", "d.heif"]


def test_links_to_folders_are_not_followed_and_links_to_files_only_where_wanted(folder: Folder) -> None:
    folder.add("a.png")
    (folder.source / "loop").symlink_to(folder.source)
    (folder.source / "b.png").symlink_to(folder.source / "a.png")
    assert [one.name for one in pictures(folder.source)] == ["a.png", "b.png"]
    assert [one.name for one in pictures(folder.source, follow_links=False)] == ["a.png"]


def test_a_second_call_does_only_what_is_new_changed_or_gone(folder: Folder) -> None:
    folder.add("a.png", "b.png", "c.png")
    folder.run()
    folder.add("b.png", data=b"another")
    folder.add("d.png")
    (folder.results / "c.png").unlink()
    assert counts(folder.run()) == (3, 0, 1, 0)
    assert folder.started == ["b.png", "c.png", "d.png"]
    assert folder.text("b.png") == "gnp.b fo rehtona"
    assert counts(folder.run()) == (0, 0, 4, 0)
    assert folder.started == []


def test_a_foreign_file_is_never_replaced_unless_that_is_asked_for(folder: Folder) -> None:
    folder.add("a.png", "b.png")
    folder.results.mkdir()
    (folder.results / "a.png").write_text("mine")
    report = folder.run()
    assert (counts(report), folder.text("a.png"), folder.started) == ((1, 1, 0, 0), "mine", ["b.png"])
    assert "exists already" in report.failures[0].reason
    assert counts(folder.run()) == (0, 0, 1, 1)
    assert counts(folder.run(overwrite=True)) == (1, 0, 1, 0)
    assert folder.text("a.png") == "gnp.a fo erutcip"


def test_a_picture_whose_place_becomes_free_is_done_without_being_asked_for(folder: Folder) -> None:
    folder.add("a.png")
    folder.results.mkdir()
    (folder.results / "a.png").write_text("mine")
    folder.run()
    (folder.results / "a.png").unlink()
    assert counts(folder.run()) == (1, 0, 0, 0)


def test_a_foreign_file_that_appears_meanwhile_is_not_replaced(folder: Folder) -> None:
    folder.add("a.png", "b.png")

    def put(tally: Tally, entry: Entry | None) -> None:
        if entry is not None and entry.source == "a.png":
            (folder.results / "b.png").write_text("mine")

    assert counts(folder.run(listener=put)) == (1, 1, 0, 0)
    assert folder.text("b.png") == "mine"
    assert counts(folder.run()) == (0, 0, 1, 1)


def test_a_result_that_somebody_has_worked_on_is_theirs(folder: Folder) -> None:
    folder.add("a.png")
    folder.run()
    (folder.results / "a.png").write_text("retouched")
    folder.add("a.png", data=b"another")
    assert counts(folder.run()) == (0, 1, 0, 0)
    assert folder.text("a.png") == "retouched"


@pytest.mark.parametrize("change", [{"profile": Profile(name="test", scale_factor=2)}, {"suffix": ".webp"}])
def test_results_of_other_settings_do_not_mix(folder: Folder, change: dict[str, object]) -> None:
    folder.add("a.png")
    folder.run()
    with pytest.raises(BatchError, match=r"scale_factor None, not 2|format \.png, not \.webp"):
        folder.run(**change)
    assert counts(folder.run(overwrite=True, **change)) == (1, 0, 0, 0)
    assert counts(folder.run(overwrite=True, **change)) == (0, 0, 1, 0)


def test_pictures_of_another_folder_do_not_mix(folder: Folder, tmp_path: Path) -> None:
    folder.add("a.png")
    folder.run()
    folder.source = tmp_path / "elsewhere"
    folder.add("a.png", data=b"another")
    with pytest.raises(BatchError, match="elsewhere"):
        folder.run()


def test_a_failure_is_set_aside_and_tried_again_only_when_asked_for_or_changed(folder: Folder) -> None:
    folder.add("a.png", data=b"bad")
    folder.add("b.png")
    report = folder.run()
    assert (counts(report), report.finished) == ((1, 1, 0, 0), True)
    assert json.loads(folder.page("failures.jsonl"))["reason"].endswith("a.png is broken")
    assert counts(folder.run()) == (0, 0, 1, 1)
    assert counts(folder.run(retry_failed=True)) == (0, 1, 1, 0)
    folder.add("a.png")
    assert counts(folder.run()) == (1, 0, 1, 0)
    assert folder.page("failures.jsonl") == ""


def test_every_picture_is_recorded_as_it_ends(folder: Folder) -> None:
    folder.add("a.png", "b.png")
    seen: list[int] = []

    def count(tally: Tally, entry: Entry | None) -> None:
        if entry:
            seen.append(len(folder.lines()))

    folder.run(listener=count)
    assert seen == [1, 2]
    line = folder.lines()[0]
    assert (line["source"], line["status"], line["output"]) == ("a.png", "done", "a.png")
    assert line["figures"]["gain"] == 0.125  # type: ignore[index]


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_kill_between_record_and_place_loses_nothing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.add("a.png")
    with monkeypatch.context() as patch:
        patch.setattr(BatchFolder, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.run()
    assert folder.made() == set()
    assert counts(folder.run()) == (0, 0, 1, 0)
    assert (folder.started, folder.text("a.png")) == ([], "gnp.a fo erutcip")


def test_a_kill_while_a_result_is_replaced_loses_nothing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.add("a.png")
    folder.run()
    folder.add("a.png", data=b"another")
    with monkeypatch.context() as patch:
        patch.setattr(BatchFolder, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.run()
    assert folder.text("a.png") == "gnp.a fo erutcip"
    assert counts(folder.run()) == (0, 0, 1, 0)
    assert folder.text("a.png") == "gnp.a fo rehtona"


def test_a_failure_does_not_forget_whose_the_result_before_it_is(folder: Folder) -> None:
    folder.add("a.png")
    folder.run()
    folder.add("a.png", data=b"bad")
    assert counts(folder.run()) == (0, 1, 0, 0)
    folder.add("a.png", data=b"better")
    assert counts(folder.run()) == (1, 0, 0, 0)
    assert folder.text("a.png") == "gnp.a fo retteb"


def test_a_kill_before_the_record_leaves_nothing_that_counts(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.add("a.png", "b.png")
    with monkeypatch.context() as patch:
        patch.setattr("agent.batch.record.os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.run()
    record = folder.results / "restore4k-batch/record.jsonl"
    record.write_bytes(record.read_bytes()[:100])  # the line was cut short
    assert counts(folder.run()) == (2, 0, 0, 0)
    assert counts(folder.run()) == (0, 0, 2, 0)


def test_a_cancelled_batch_says_so_and_the_same_call_ends_it(folder: Folder) -> None:
    folder.add(*(f"{number}.png" for number in range(5)))
    token = ProgressToken()

    def stop(tally: Tally, entry: Entry | None) -> None:
        if tally.done == 2:
            token.cancel()

    report = folder.run(token, stop)
    assert (report.finished, report.done) == (False, 2)
    assert "2.png" not in folder.page()
    assert counts(folder.run()) == (3, 0, 2, 0)


def test_two_batches_do_not_write_to_one_folder(folder: Folder) -> None:
    folder.add("a.png")

    def again(tally: Tally, entry: Entry | None) -> None:
        if entry:
            with pytest.raises(BatchError, match="another batch"):
                Folder.run(folder)

    folder.run(listener=again)


def test_a_full_disk_ends_the_batch_instead_of_failing_every_picture(folder: Folder) -> None:
    folder.add("a.png")
    with pytest.raises(ResourceError, match="has only"):
        folder.run(free_bytes=1 << 60)
    assert counts(folder.run()) == (1, 0, 0, 0)


def test_what_cannot_work_is_refused_at_once(folder: Folder, tmp_path: Path) -> None:
    folder.add("a.png")
    file = folder.source / "a.png"
    with pytest.raises(OutputError, match="format"):
        folder.run(suffix=".doc")
    folder.results = folder.source
    with pytest.raises(BatchError, match="taken for pictures"):
        folder.run()
    folder.results = file
    with pytest.raises(OutputError, match="is a file"):
        folder.run()
    folder.source, folder.results = file, tmp_path / "out"
    with pytest.raises(BatchError, match="not a folder"):
        folder.run()
    folder.source = tmp_path / "empty"
    (folder.source / "below").mkdir(parents=True)
    folder.add("below/notes.txt")
    with pytest.raises(BatchError, match=r"no picture in .*empty"):
        folder.run()
    assert not folder.results.exists()


def test_a_folder_that_cannot_be_read_is_a_failure(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.add("a.png", "closed/b.png")
    scandir = os.scandir

    def refuse(path: object) -> object:
        if isinstance(path, Path) and path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("agent.batch.pictures.os.scandir", refuse)
    report = folder.run()
    assert (counts(report), report.failures[0].source) == ((1, 1, 0, 0), "closed/")
    assert "Permission denied" in report.failures[0].reason


def test_a_name_that_is_no_text_is_a_failure(folder: Folder) -> None:
    folder.add("a.png")
    name = os.fsdecode(b"\xff.png")
    try:
        (folder.source / name).write_bytes(b"picture")
    except OSError:
        pytest.skip("this file system has no such names")
    report = folder.run()
    assert (counts(report), report.failures[0].source) == ((1, 1, 0, 0), "\\xff.png")
    assert counts(folder.run()) == (0, 0, 1, 1)


def test_the_summary_shows_pictures_figures_and_failures_and_runs_nothing(folder: Folder) -> None:
    folder.add(HOSTILE, "b.png")
    folder.add("c.png", data=b"bad")
    folder.run()
    page = folder.page()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "&lt;img src=x onerror=alert(1)&gt; $title {size}.png" in page
    assert "<img src=x" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    for figure in ("Denoising by scripted", "0.125", "2.0 s", "640 × 480", "c.png is broken"):
        assert figure in page


def test_the_summary_of_many_pictures_has_pages_and_old_pages_go(folder: Folder) -> None:
    folder.add(*(f"{number:03}.png" for number in range(250)))
    folder.run()
    names = ("summary.html", "summary-2.html", "summary-3.html")
    assert [folder.page(name).count("<li><figure>") for name in names] == [100, 100, 50]
    assert 'href="summary-3.html">Next page' in folder.page("summary-2.html")
    assert "Next page" not in folder.page("summary-3.html")
    for file in (folder.results / "restore4k-batch/thumbnails").glob("*"):
        file.unlink()
    folder.run()
    assert not list((folder.results / "restore4k-batch").glob("summary-*.html"))


def test_of_very_many_pictures_so_many_are_shown_as_are_wanted(folder: Folder) -> None:
    folder.add(*(f"{number:03}.png" for number in range(300)))
    folder.run(thumbnails=60)
    assert 40 <= folder.page().count("<li><figure>") <= 80


def test_memory_does_not_grow_with_the_number_of_pictures(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.batch.record.os.fsync", lambda descriptor: None)

    def peak(parts: int) -> int:
        folder.add(*(f"{parts}/{part}/{name}.png" for part in range(parts) for name in range(50)))
        tracemalloc.start()
        folder.run(thumbnails=20)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    few, many = peak(4), peak(24)
    assert len(folder.lines()) == 1500
    assert many < few + 300_000
