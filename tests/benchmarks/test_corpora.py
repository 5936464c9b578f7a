"""The comparison of decoders on corpora, with files and second readers that are made here."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data

from benchmarks import corpora
from benchmarks.corpora import ALONE, DIFFERENT, EQUAL, OURS_REFUSED, REFUSED, Pixels, laid_out, outcome, print_corpus

PHOTO = skimage.data.astronaut()[:24, 200:232]


def by_pillow(path: Path) -> Pixels:
    with PIL.Image.open(path) as picture:
        values = np.asarray(picture.convert("RGBA")).astype(np.float32) / 255
    return laid_out(values[:, :, :3], values[:, :, 3:])


def dark(path: Path) -> Pixels:
    return by_pillow(path) * 0.5


def refusing(path: Path) -> Pixels:
    raise ValueError("not known")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    corpus = tmp_path / "made"
    corpus.mkdir()
    PIL.Image.fromarray(np.dstack([PHOTO, PHOTO[:, :, 0]])).save(corpus / "clear.png")
    (corpus / "notes.txt").write_text("no picture")
    PIL.Image.fromarray(PHOTO[:4, :4]).save(corpus / "tiny.png")
    return corpus


def test_a_file_is_right_if_one_reader_agrees(folder: Path) -> None:
    clear = folder / "clear.png"
    assert outcome(clear, {"first": dark, "second": by_pillow}).kind == EQUAL
    assert outcome(clear, {"first": dark}).kind == DIFFERENT
    assert "first" in outcome(clear, {"first": dark}).reason
    assert outcome(clear, {"first": refusing}).kind == ALONE


def test_refusals_are_told_apart(folder: Path) -> None:
    assert outcome(folder / "notes.txt", {"first": by_pillow}).kind == REFUSED
    tiny = outcome(folder / "tiny.png", {"first": by_pillow})
    assert tiny.kind == OURS_REFUSED
    assert "at least 8 pixels" in tiny.reason


def test_each_corpus_is_a_row_and_files_that_are_not_equal_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = print_corpus(folder, {"first": dark})
    monkeypatch.setattr(corpora, "EXPLAINED", {"clear.*": "it is made dark here"})
    corpora.print_files(found, folder.parent, DIFFERENT)
    output = capsys.readouterr().out
    assert "| made | 3 | 0 | 1 | 1 | 0 | 1 |" in output
    assert re.search(r"\| made/clear.png \| first [0-9.]+ of 255 \| it is made dark here \|", output)
