"""A batch that was killed, cancelled or failed: what is recorded, and what the next call does."""

from __future__ import annotations

import json
import sqlite3
from itertools import count

import pytest

from agent.batch.folder import BatchFolder
from agent.batch.record import Entry
from agent.batch.runner import Tally
from agent.errors import BatchError
from imaging.errors import OutputError, ResourceError, RestoreError
from imaging.progress import ProgressToken
from tests.agent.batch.scripted import Folder, counts
from tests.full_disk import FullDisk, unfinished


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


def test_a_failed_picture_is_retried_only_on_request_or_after_a_change(folder: Folder) -> None:
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
    assert folder.outputs() == set()
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


def test_a_failure_keeps_the_record_of_the_previous_result(folder: Folder) -> None:
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


def test_a_cancelled_batch_is_reported_and_the_same_call_completes_it(folder: Folder) -> None:
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


@pytest.mark.parametrize("stage", FullDisk.STAGES)
def test_a_disk_that_becomes_full_ends_the_batch_and_no_picture_fails(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    folder.add("a.png", "b.png", "c.png")
    for number in count():
        folder.results = folder.source.with_name(f"out {number}")
        with monkeypatch.context() as patch:
            FullDisk(folder.results, stage, number).fill(patch)
            try:
                folder.run()
                break
            except RestoreError as error:
                message = str(error)
        assert "No space left on device; free or unlock its disk" in message
        assert unfinished(folder.results) == []
        report = folder.run()
        assert (report.failed, report.failed_before) == (0, 0), f"{stage} {number}"
        assert folder.outputs() == {"a.png", "b.png", "c.png"}
        assert folder.text("a.png") == "gnp.a fo erutcip"
    assert number > 0


@pytest.mark.parametrize("pages", range(1, 5))
def test_a_full_disk_of_temporary_files_ends_the_batch_which_is_resumed_later(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    """The index of the record is there."""
    folder.add(*(f"{number}{'a' * 200}.png" for number in range(100)))
    connect = sqlite3.connect

    def on_a_full_disk(database: str) -> sqlite3.Connection:
        connection = connect(database)
        connection.execute(f"PRAGMA max_page_count={pages}")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", on_a_full_disk)
        with pytest.raises(OutputError, match="disk of temporary files"):
            folder.run()
    report = folder.run()
    assert (report.failed, report.failed_before) == (0, 0)
    assert report.done + report.done_before == 100


def test_a_full_disk_ends_the_batch_instead_of_failing_every_picture(folder: Folder) -> None:
    folder.add("a.png")
    with pytest.raises(ResourceError, match="has only"):
        folder.run(free_bytes=1 << 60)
    assert counts(folder.run()) == (1, 0, 0, 0)
