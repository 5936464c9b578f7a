"""The report of a run names the downloads of the starter set that would have taken part in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.expert_choice import helpful_downloads
from agent.state import Step
from profiles.loading import load_profile
from tests.agent.scripted import profile, run
from toolbox.pool import ExpertPool
from toolbox.tasks import Task


def test_the_report_names_downloads_that_would_have_taken_part(
    noisy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path / "models"))
    wanted = profile(restore_option=None, plan="denoising", scale_factor=None, upscale_4k=False, require_sr_size=0)
    page = run(noisy_file, wanted, ExpertPool()).report.read_text("utf-8")
    assert "scunet_psnr: removes strong noise" in page
    assert "restore4k models pull starter" in page
    assert "realesrgan_x2" not in page


def test_downloads_of_another_preference_are_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path))
    steps = [Step(task=Task.DENOISING), Step(task=Task.SUPER_RESOLUTION, scale=4), Step(task=Task.FACE_RESTORATION)]
    advice = {
        name: [line.split(":")[0] for line in helpful_downloads(steps, load_profile(name), ExpertPool())]
        for name in ("Gen4K-F", "default", "GenSR-s4-P")
    }
    assert advice == {
        "Gen4K-F": ["scunet_psnr", "yunet", "sface"],
        "default": ["scunet_psnr", "realesr_general_x4", "yunet", "sface"],
        "GenSR-s4-P": ["realesr_general_x4", "yunet", "sface"],
    }
