"""A picture is written whole or not at all, and replaces a file only if asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from imaging.errors import OutputError, OutputExists
from imaging.image import Image
from imaging.output import check_output
from imaging.reading import read_image
from imaging.writing import write_image


def test_folders_on_the_way_are_made(tmp_path: Path, small: Image) -> None:
    write_image(small, tmp_path / "a" / "b" / "out.png")
    assert list((tmp_path / "a" / "b").iterdir()) == [tmp_path / "a" / "b" / "out.png"]


def test_an_existing_file_is_left_alone_unless_asked(tmp_path: Path, small: Image) -> None:
    file = tmp_path / "out.png"
    file.write_bytes(b"precious")
    with pytest.raises(OutputExists, match=r"out\.png"):
        write_image(small, file)
    assert file.read_bytes() == b"precious"
    write_image(small, file, overwrite=True)
    assert read_image(file).width == 64
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_appears_while_the_picture_is_encoded_is_left_alone(
    tmp_path: Path, small: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out.png"

    def meanwhile(*_: Any) -> list[bytes]:
        file.write_bytes(b"precious")
        return [b"picture"]

    monkeypatch.setattr("imaging.writing._png_parts", meanwhile)
    with pytest.raises(OutputExists):
        write_image(small, file)
    assert file.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_system_without_hard_links_is_supported(
    tmp_path: Path, small: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    write_image(small, tmp_path / "out.png")
    assert read_image(tmp_path / "out.png").width == 64
    assert list(tmp_path.iterdir()) == [tmp_path / "out.png"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_while_writing_leaves_everything_as_it_was(
    tmp_path: Path, small: Image, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "out.png"
    if overwrite:
        file.write_bytes(b"precious")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_image(small, file, overwrite=overwrite)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([b"precious"] if overwrite else [])


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".avif", ".heic"])
def test_a_picture_that_a_format_cannot_hold_is_an_output_error(tmp_path: Path, suffix: str) -> None:
    """All of these end below 70,000 pixels a side."""
    wide = Image(torch.zeros(3, 8, 70_000))
    with pytest.raises(OutputError, match="choose PNG"):
        write_image(wide, tmp_path / "folder" / f"out{suffix}")
    assert not (tmp_path / "folder").exists()


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "out.png"
    file.write_bytes(b"precious")
    program = (
        "import os, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from imaging.image import Image\n"
        "from imaging.writing import write_image\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_image(Image(torch.rand(3, 64, 64)), Path(sys.argv[1]), overwrite=True)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(file)], cwd=Path(__file__).parents[2], timeout=60)
    assert killed.returncode == -9
    assert file.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["out", "out.docx", "out.gif", ".png", "out.png.part"])
def test_unknown_suffixes_are_refused(tmp_path: Path, small: Image, name: str) -> None:
    with pytest.raises(OutputError, match="suffix"):
        write_image(small, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_as_output_file_is_refused(tmp_path: Path, small: Image) -> None:
    (tmp_path / "folder.png").mkdir()
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="is a folder"):
            write_image(small, tmp_path / "folder.png", overwrite=overwrite)


def test_a_file_in_the_place_of_a_folder_is_an_output_error(tmp_path: Path, small: Image) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        write_image(small, tmp_path / "file" / "out.png")


def test_an_output_that_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(b"")
    check_output(tmp_path / "not yet" / "out.png", overwrite=False)
    check_output(tmp_path / "there.png", overwrite=True)
    with pytest.raises(OutputExists):
        check_output(tmp_path / "there.png", overwrite=False)
    assert not (tmp_path / "not yet").exists()
