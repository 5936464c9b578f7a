"""A batch's own folder with links to elsewhere, and with files that no batch wrote."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.batch.folder import key_of
from imaging.errors import RestoreError
from tests.agent.batch.scripted import Folder, counts

OWN = "restore4k-batch"


@pytest.mark.parametrize(
    "name", ["", "scratch", "finished", "thumbnails", "runs", "lock", "record.jsonl", "settings.json"]
)
def test_links_in_place_of_a_batchs_own_files_are_refused(folder: Folder, name: str, tmp_path: Path) -> None:
    folder.add("a.png")
    folder.run()
    place, outside = folder.results / OWN / name, tmp_path / "outside"
    outside.mkdir()
    kept = outside / "kept"
    shutil.move(place, kept) if place.exists() else kept.mkdir()
    if kept.is_dir():
        (kept / "mine").write_text("mine")
    place.symlink_to(kept)
    before = contents(outside)
    folder.add("b.png")
    with pytest.raises(RestoreError):
        folder.run()
    assert contents(outside) == before


@pytest.mark.parametrize("name", ["failures.jsonl", "summary.html", "summary-2.html", "thumbnails"])
def test_links_in_place_of_pages_and_thumbnails_are_not_followed(folder: Folder, name: str, tmp_path: Path) -> None:
    folder.add("a.png")
    folder.run()
    place, outside = folder.results / OWN / name, tmp_path / "outside.jpg"
    outside.write_bytes(b"\xff\xd8 secret")
    before = outside.read_bytes()
    for file in place.iterdir() if place.is_dir() else (place,):
        file.unlink(missing_ok=True)
        file.symlink_to(outside)
    (folder.results / "a.png").unlink()
    assert counts(folder.run()) == (1, 0, 0, 0)
    assert outside.read_bytes() == before
    assert "/9ggc2VjcmV0" not in folder.page()  # the secret in base64


@pytest.mark.parametrize("name", ["record.jsonl", "settings.json", "thumbnails"])
def test_pipes_in_place_of_a_batchs_own_files_do_not_block(folder: Folder, name: str) -> None:
    folder.add("a.png")
    folder.run()
    place = folder.results / OWN / name
    for file in list(place.iterdir()) if place.is_dir() else [place]:
        file.unlink()
        os.mkfifo(file)
    if name == "thumbnails":
        assert counts(folder.run()) == (0, 0, 1, 0)
    else:
        with pytest.raises(RestoreError):
            folder.run()


def test_a_record_that_no_batch_wrote_counts_for_nothing(folder: Folder) -> None:
    folder.add("a.png")
    folder.run()
    record = folder.results / OWN / "record.jsonl"
    line = record.read_bytes()
    record.write_bytes(b"[" * 100_000 + b"\n\0\xff\n{}\n" + line[:50] + b"\n" + line)
    assert counts(folder.run()) == (0, 0, 1, 0)


@pytest.mark.parametrize("place", ["../{}", "{}", "sub/../../{}"])
def test_a_record_names_no_results_elsewhere(folder: Folder, tmp_path: Path, place: str) -> None:
    """It says that a result is finished, and is to replace a file outside."""
    folder.add("a.png")
    folder.run()
    mine = tmp_path / "mine.png"
    mine.write_text("mine")
    finished = folder.results / OWN / "finished" / f"{key_of('a.png')}.png"
    (folder.results / "a.png").rename(finished)
    (entry,) = folder.lines()
    entry |= {"output": place.format(mine if place == "{}" else mine.name), "replaces": True}
    (folder.results / OWN / "record.jsonl").write_text(json.dumps(entry) + "\n")
    assert counts(folder.run()) == (1, 0, 0, 0)
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    "edit",
    [{"output": "a\0.png"}, {"output": ""}, {"output": "x" * 5000}, {"output_size": 10**40}]
    + [
        {"figures": {name: value}}
        for name in ("seconds", "gain", "quality")
        for value in (float("nan"), float("inf"))
    ],
    ids=str,
)
def test_a_line_of_a_record_that_no_batch_wrote_spoils_at_most_its_picture(
    folder: Folder, edit: dict[str, Any]
) -> None:
    folder.add("a.png", "b.png")
    folder.run()
    first, second = folder.lines()
    edited = first | edit | {"figures": first["figures"] | edit.get("figures", {})}
    (folder.results / OWN / "record.jsonl").write_text(f"{json.dumps(edited)}\n{json.dumps(second)}\n")
    report = folder.run()
    assert (report.total, report.done_before) == (2, 1)
    assert report.failures == [] or report.failures[0].source == "a.png"


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(file): file.read_bytes() if file.is_file() else None for file in sorted(folder.rglob("*"))}
