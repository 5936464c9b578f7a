"""Opening files: regular ones only, links only for the user, any name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from imaging.errors import ImageError
from imaging.image import Image
from imaging.limits import Limits
from imaging.opening import read_small
from imaging.reading import read_bytes, read_image
from imaging.writing import encode_image

PNG = encode_image(Image(torch.rand(3, 48, 64)), "PNG")


def test_links_are_followed_for_the_user_and_never_for_a_server(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "photo.png").write_bytes(PNG)
    (tmp_path / "link.png").symlink_to("real/photo.png")
    (tmp_path / "folder").symlink_to("real")
    for path in (tmp_path / "link.png", tmp_path / "folder" / "photo.png"):
        assert read_image(path).width == 64
        with pytest.raises(ImageError, match="cannot be read"):
            read_image(path, Limits(follow_links=False))
    assert read_image((tmp_path / "real" / "photo.png").resolve(), Limits(follow_links=False)).width == 64


def test_a_file_that_becomes_a_pipe_or_a_link_after_the_check_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap happens just before the file is opened; nothing waits for a writer, and nothing else is read."""
    file, secret = tmp_path / "photo.png", tmp_path / "secret.png"
    secret.write_bytes(PNG)
    opened = os.open
    swaps: list[Callable[[], None]] = [lambda: os.mkfifo(file), lambda: file.symlink_to(secret)]
    for swap in swaps:
        file.write_bytes(PNG)

        def swapped(path: str, *arguments: int, swap: Callable[[], None] = swap, **named: int) -> int:
            if str(path).endswith("photo.png"):
                file.unlink()
                swap()
            return opened(path, *arguments, **named)

        monkeypatch.setattr(os, "open", swapped)
        with pytest.raises(ImageError):
            read_bytes(file, Limits(follow_links=False))
        monkeypatch.undo()
        file.unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no descriptors to count")
def test_small_files_of_our_own_are_regular_small_and_closed(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"1234")
    (tmp_path / "large").write_bytes(b"12345")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    before = psutil.Process().num_fds()
    assert read_small(tmp_path / "good", 4) == b"1234"
    for name in ("large", "folder", "pipe", "link", "absent"):
        with pytest.raises(OSError, match=r"at most 4|not a regular file|No such file"):
            read_small(tmp_path / name, 4)
    assert psutil.Process().num_fds() == before


def test_a_name_that_is_not_utf_8_is_read_and_reported_safely(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    file.write_bytes(PNG)
    assert read_image(file).width == 64
    file.write_bytes(PNG[:100])
    with pytest.raises(ImageError) as caught:
        read_image(file)
    str(caught.value).encode()
