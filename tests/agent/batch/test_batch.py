"""A folder of pictures: which files are pictures, where results go, and what is never replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.batch.pictures import pictures
from agent.batch.record import Entry
from agent.batch.runner import Tally
from agent.errors import BatchError
from imaging.errors import OutputError
from profiles.schema import Profile
from tests.agent.batch.scripted import Folder, counts


def test_every_picture_below_the_folder_has_its_result_at_the_same_place(folder: Folder) -> None:
    folder.add("a.jpg", "trip/b.PNG", "trip/day 2/c.heic", "notes.txt", ".hidden/d.png", ".e.png")
    report = folder.run()
    assert folder.outputs() == {"a.png", "trip/b.png", "trip/day 2/c.png"}
    assert folder.text("a.png") == "gpj.a fo erutcip"
    assert (counts(report), report.total, report.finished) == ((3, 0, 0, 0), 3, True)


def test_pictures_that_differ_only_in_the_suffix_do_not_replace_each_other(folder: Folder) -> None:
    folder.add("a.jpg", "A.tif", "b.jpg")
    folder.run()
    assert folder.outputs() == {"a.jpg.png", "A.tif.png", "b.png"}


@pytest.mark.parametrize("suffix", [".png", ".jpg", "same"])
def test_no_two_pictures_of_any_names_get_one_result(folder: Folder, suffix: str) -> None:
    names = ("a", "a.jpg", "a.gif", "a.jpg.png", "a.gif.png", "a.gif.png.png", "a.gif.png.tif", "b.png", "b.png.jpg")
    folder.add(*names, data=b"\x89PNG\r\n\x1a\n")
    assert counts(folder.run(suffix=suffix, overwrite=True)) == (len(names), 0, 0, 0)
    texts = {(folder.results / name).read_bytes() for name in folder.outputs()}
    assert texts == {(folder.source / name).read_bytes()[::-1] for name in names}


def test_the_format_stays_where_it_is_written(folder: Folder) -> None:
    folder.add("a.JPG", "a.tif", "b.gif", "trip/c.heic", "trip/c.gif")
    assert counts(folder.run(suffix="same")) == (5, 0, 0, 0)
    assert folder.outputs() == {"a.JPG", "a.tif", "b.png", "trip/c.heic", "trip/c.gif.png"}
    assert counts(folder.run(suffix="same")) == (0, 0, 5, 0)


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
    assert folder.outputs() == {"a.png", "trip/b.png"}
    folder.source, folder.results = folder.source / "trip/restored", folder.source.parent / "out"
    assert folder.run().total == 2  # asked for by name


def test_every_kind_of_file_that_can_be_read_is_a_picture(folder: Folder) -> None:
    folder.add("a.gif", "b.PGM", "c.jfif", "d.heif", "e.svg")
    assert [one.name for one in pictures(folder.source)] == ["a.gif", "b.PGM", "c.jfif", "d.heif"]


def test_pictures_are_known_by_their_content_and_other_files_are_counted(folder: Folder) -> None:
    folder.add("no suffix", "wrong.dat", data=b"\x89PNG\r\n\x1a\n")
    folder.add("scan.dng", "scan.jxl", "scan.tga")
    folder.add("notes.txt", "more.txt", "LICENSE")
    os.mkfifo(folder.source / "pipe")
    report = folder.run()
    assert counts(report) == (5, 0, 0, 0)
    assert report.passed_over == {".txt": 2, "without suffix": 1}


def test_links_to_folders_are_not_followed_and_links_to_files_only_where_wanted(folder: Folder) -> None:
    folder.add("a.png")
    (folder.source / "loop").symlink_to(folder.source)
    (folder.source / "b.png").symlink_to(folder.source / "a.png")
    assert [one.name for one in pictures(folder.source)] == ["a.png", "b.png"]
    assert [one.name for one in pictures(folder.source, follow_links=False)] == ["a.png"]


def test_a_foreign_file_is_replaced_only_on_request(folder: Folder) -> None:
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


def test_a_result_that_was_edited_is_not_replaced(folder: Folder) -> None:
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


def test_impossible_batches_are_refused_at_once(folder: Folder, tmp_path: Path) -> None:
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
