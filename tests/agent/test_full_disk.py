"""At whatever write a disk becomes full, a run ends in words, leaves nothing half-written, and goes on later."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.run import resume_run
from imaging.errors import RestoreError
from imaging.reading import read_image
from tests.agent.scripted import PLAIN_2X, ScriptedPool, expert, profile, run, truth, winners
from tests.full_disk import FullDisk, unfinished
from toolbox.tasks import Task

NUMBERS = (0, 3, 27)
"""Writes before the disk is full."""


@pytest.mark.parametrize(
    ("place", "stage"),
    [("runs", "opened"), ("runs", "written"), ("runs", "named"), ("output", "written"), ("output", "synced")],
)
def test_a_full_disk_ends_a_run_in_words_and_it_goes_on_once_there_is_space(
    noisy_file: Path, monkeypatch: pytest.MonkeyPatch, place: str, stage: str
) -> None:
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    folder = noisy_file.parent
    output = folder / "out.png"
    for number in NUMBERS:
        disk = FullDisk(folder / place if place == "runs" else folder, stage, number)
        with monkeypatch.context() as patch:
            disk.fill(patch, spare=None if place == "runs" else folder / "runs")
            try:
                run(noisy_file, profile(), pool)
                break
            except RestoreError as error:
                message = str(error)
        assert "No space left on device; free or unlock its disk" in message
        assert unfinished(folder) == []
        assert not output.exists() or read_image(output).width
        for left in folder.glob("runs/*"):
            assert winners(resume_run(left, experts=pool)) == ["ideal", "plain_2x"]
        assert output.exists() == bool(list(folder.glob("runs/*")))
        output.unlink(missing_ok=True)
        for left in folder.glob("runs/*"):
            left.rename(folder / f"{number} {left.name}")
    assert number
