"""What others write never commands the user's terminal."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imaging.progress import ProgressToken
from server.cli.app import app
from server.cli.console import stopped_by_signals

CLEAR, TITLE, EIGHT_BIT, REVERSED = "\x1b[2J", "\x1b]0;title\x07", "\x9b2J", "\u202e"
HOSTILE = f"bad{CLEAR}{TITLE}{EIGHT_BIT}{REVERSED}\r"
COMMAND = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "no{hostile}.png"],
        ["analyze", "{folder}/{hostile}.png", "--json"],
        ["restore", "{folder}/{hostile}.png", "--quiet"],
        ["batch", "{folder}", "{folder}/results", "--workers", "1"],
        ["batch", "{folder}", "{folder}/results", "--workers", "1", "--json"],
        ["models", "add", "{folder}/{hostile}.pth", "--task", "denoising", "--name", "mine"],
        ["doctor"],
        ["doctor", "--json"],
        ["resume", "{hostile}"],
    ],
    ids=lambda arguments: "-".join(arguments[:1] + arguments[-1:]).split("{")[0],
)
def test_names_and_words_of_others_are_shown_without_control_characters(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    (folder / "models" / "cards").mkdir(parents=True)
    for suffix in ("png", "pth"):
        (folder / f"{HOSTILE}.{suffix}").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    (folder / "models" / "cards" / f"{HOSTILE}.toml").write_bytes(b"[")
    monkeypatch.setenv("RESTORE4K_MODELS", str(folder / "models"))
    monkeypatch.setenv("RESTORE4K_RUNS", str(tmp_path / "runs"))
    given = [argument.format(hostile=HOSTILE, folder=folder) for argument in arguments]
    result = CliRunner().invoke(app, given, env={"COLUMNS": "500"})
    for output in (result.stdout, result.stderr):
        assert not COMMAND.search(output), output
    assert "bad\\" in result.output
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize("command", ["analyze", "restore"])
def test_a_name_that_is_no_unicode_is_told_in_json(command: str, photos: Any) -> None:
    bad = Path(os.fsdecode(os.fsencode(photos.folder) + b"/caf\xe9.png"))
    bad.write_bytes(b"damaged")
    result = CliRunner().invoke(app, [command, str(bad), "--json"])
    assert result.exit_code == 2
    assert "caf" in json.loads(result.stdout_bytes)["error"]["message"]
    assert not list(photos.folder.parent.glob("runs/*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_while_a_line_is_written_cancels_and_is_answered(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    signals = [number]

    class Interrupted(io.RawIOBase):
        """Gets the signal in the middle of its first write, as happens by chance."""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            if signals:
                os.kill(os.getpid(), signals.pop())
            return len(data)

    token = ProgressToken()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(Interrupted()), line_buffering=True))
    with stopped_by_signals(token) as received:
        print("failed: a picture", file=sys.stderr)
    assert (token.is_cancelled, received()) == (True, number)
    assert "stopping after the current tile" in capfd.readouterr().err
