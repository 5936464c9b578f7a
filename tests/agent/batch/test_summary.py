"""The summary pages of a batch, and its memory."""

from __future__ import annotations

import tracemalloc

import pytest

from tests.agent.batch.scripted import Folder

HOSTILE = "<img src=x onerror=alert(1)> $title {size}.png"


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
    few, many = peak(4), min(peak(24), peak(23))  # an import in another thread would count once
    assert len(folder.lines()) == 2650
    assert many < few + 300_000
