"""Experts that take too long on a CPU are left out, unless a profile names them; a warning says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agent.state import Step
from agent.step import experts_for, too_slow
from agent.step_context import StepContext
from imaging.image import Image
from iqa.features import extract_features
from profiles.loading import load_profile
from profiles.schema import Profile
from tests.agent.scripted import PLAIN_2X, ScriptedPool, crash, expert, profile, run
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

ENLARGE_4X = Step(task=Task.SUPER_RESOLUTION, scale=4)


def context_of(side: int, wanted: Profile, seconds: float | None) -> StepContext:
    image = Image(torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)))
    return StepContext(image, ENLARGE_4X, wanted, ExpertPool(), extract_features(image), expert_seconds=seconds)


@pytest.mark.parametrize(("seconds", "runs"), [(1.0, False), (1000.0, True), (None, True)])
def test_real_esrgan_runs_where_it_fits_the_time(
    seconds: float | None, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.expert_choice.teraflops", lambda device: 0.28)
    context = context_of(128, load_profile("GenSR-s4-P"), seconds)
    assert ("realesrgan_x4" in [card.name for card in experts_for(context)]) == runs


def test_what_a_profile_names_runs_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.expert_choice.teraflops", lambda device: 0.28)
    wanted = load_profile("GenSR-s4-P").model_copy(update={"experts": ("realesrgan_x4",)})
    assert [card.name for card in experts_for(context_of(128, wanted, 1.0))] == ["realesrgan_x4"]


def test_on_a_gpu_nothing_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.expert_choice.teraflops", lambda device: None)
    context = context_of(128, load_profile("GenSR-s4-P"), 0.001)
    assert not too_slow(context)


@pytest.mark.parametrize("max_seconds", [None, 300.0])
def test_why_an_expert_is_too_slow_is_told_with_what_helps(
    max_seconds: float | None, noisy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.expert_choice.teraflops", lambda device: 0.28)
    slow = expert("slow", Task.SUPER_RESOLUTION, crash, 2, "perception")
    slow = replace(slow, card=slow.card.model_copy(update={"teraflop": 1e6}))
    wanted = profile(
        restore_option=None,
        plan="super_resolution",
        max_seconds=max_seconds,
        restore_preference="perception",
        rollback=False,
    )
    restoration = run(noisy_file, wanted, ScriptedPool(PLAIN_2X, slow))
    (warning,) = (one for one in restoration.state.warnings if "slow" in one)
    assert "s on this CPU, more than the " in warning
    assert ("max_seconds" in warning) == (max_seconds is not None)
