"""A file that is written atomically is complete or not there, and nothing else is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from imaging.atomic import atomic_write


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_appears_at_the_end_of_the_block_with_the_usual_permissions(tmp_path: Path, sync: bool) -> None:
    usual, file = tmp_path / "usual", tmp_path / "new.txt"
    usual.touch()
    with atomic_write(file, sync=sync) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert not file.exists()
    assert file.read_text() == "new"
    assert file.stat().st_mode == usual.stat().st_mode
    assert set(tmp_path.iterdir()) == {usual, file}


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_write(file) as temporary:
            temporary.write_text("new")
            raise ZeroDivisionError

    file = tmp_path / "old.txt"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert [(entry, entry.read_text()) for entry in tmp_path.iterdir()] == [(file, "old")]


def test_without_overwriting_an_existing_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "old.txt"
    file.write_text("old")
    with pytest.raises(FileExistsError), atomic_write(file, overwrite=False) as temporary:
        temporary.write_text("new")
    assert [(entry, entry.read_text()) for entry in tmp_path.iterdir()] == [(file, "old")]


def test_the_suffix_ends_the_temporary_name(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "picture.png", suffix=".png") as temporary:
        temporary.touch()
        assert temporary.suffix == ".png"
        assert temporary.stem.endswith(".part")
