"""Paths that no file can have, or that nobody expects, wherever a command takes one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

LONG, DEEP = "y" * 300, "y/" * 2100 + "y"
PATHS = {
    "a name that is too long": LONG,
    "a path that is too long": DEEP,
    "many folders": "d/" * 1200 + "y",
    "a name that is not UTF-8": os.fsdecode(b"caf\xe9"),
    "below a file": "noisy.jpg/inside",
    "a link to itself": "circle",
    "nothing": "",
    "a device": "/dev/null",
    "a pipe": "pipe",
}
QUICK = ("--scale", "2", "--max-runs", "1", "-q", "--json")
COMMANDS: dict[str, tuple[str, ...]] = {
    "the photo of restore": ("restore", "PATH", *QUICK),
    "the photo of analyze": ("analyze", "PATH", "--json"),
    "the photo of quality": ("quality", "PATH", "--json"),
    "the photo of plan": ("plan", "PATH", "--json"),
    "the output of restore": ("restore", "noisy.jpg", "-o", "PATH", *QUICK),
    "the output of restore with a suffix": ("restore", "noisy.jpg", "-o", "PATH.png", *QUICK),
    "the runs of restore": ("restore", "noisy.jpg", "-o", "out.png", "--runs", "PATH", *QUICK),
    "the region of restore": ("restore", "noisy.jpg", "--region", "PATH", *QUICK),
    "the profile of restore": ("restore", "noisy.jpg", "--profile", "PATH.toml", *QUICK),
    "the run of resume": ("resume", "PATH", "-q", "--json"),
    "the photos of batch": ("batch", "PATH", "out", "-q", "--json"),
    "the results of batch": ("batch", "empty", "PATH", "-q", "--json"),
    "a profile": ("profiles", "PATH.toml", "--json"),
    "a model": ("models", "add", "PATH.safetensors", "--name", "x", "--task", "denoising", "--json"),
}


@pytest.fixture
def here(photos: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of photos, with odd things in it."""
    folder: Path = photos.folder
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.png")
    for end in ("", ".png", ".toml", ".safetensors"):
        (folder / f"circle{end}").symlink_to(f"circle{end}")
    (folder / "empty").mkdir()
    shutil.copy(photos.clean, folder / "empty" / "a.png")
    monkeypatch.chdir(folder)
    return folder


def filled(command: Sequence[str], path: str) -> list[str]:
    return [word.replace("PATH", path) for word in command]


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_any_path_gives_a_result_or_one_line_that_says_what_is_wrong(
    run: Any, here: Path, command: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.batch.runner._Batch.run", lambda *_: None)
    result = run(*filled(COMMANDS[command], PATHS[kind]))
    document = json.loads(result.stdout)
    assert "unexpected" not in result.stderr
    assert result.exit_code == (2 if "error" in document else 0)
    assert len(result.stderr.splitlines()) == ("error" in document)
    assert len(result.stderr) < 10_000
